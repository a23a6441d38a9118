package nms

// enter puts a location into the table.
func (c *Core) enter(uid string, l *location) {
	l.uid, l.place = uid, len(c.row)
	c.row = append(c.row, l)
	c.locations[uid] = l
}

// remove takes a location out of it.
func (c *Core) remove(l *location) {
	last := len(c.row) - 1
	moved := c.row[last]
	c.row[l.place], moved.place = moved, l.place
	c.row[last] = nil
	c.row = c.row[:last]
	delete(c.locations, l.uid)
}

// each goes on through the table, from the end to the beginning, for at most n
// locations: with very many of them nothing may look at all at once, because
// everything else waits meanwhile. place is where it is, len(c.row) at first; 0
// means that it is through. f may remove the location that it is given, and
// returns false to stop before it. What is entered meanwhile is left out.
func (c *Core) each(place *int, n int, f func(*location) bool) {
	for ; n > 0; n-- {
		if *place = min(*place, len(c.row)); *place == 0 || !f(c.row[*place-1]) {
			return
		}
		*place--
	}
}
