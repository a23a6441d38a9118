package cache

// At returns the resources of a kind as they were at a revision, for the pages
// of a list whose first page another manager answered: what the history says
// happened since is undone. ok is false if the history does not reach back so
// far, if more than undoChanges happened, or if the cache does not know the
// revision yet.
func (c *Cache) At(plural string, revision int64) (view View, ok bool) {
	view, changes, ok := c.since(plural, revision)
	for i := len(changes) - 1; i >= 0; i-- {
		view.undo(changes[i])
	}
	return view, ok
}

// since returns a copy of what there is now, and the changes after a revision.
func (c *Cache) since(plural string, revision int64) (view View, changes []Change, ok bool) {
	c.mu.Lock() // trees must not be cloned twice at the same time
	defer c.mu.Unlock()
	t := c.tables[plural]
	if t == nil || !c.loaded || revision < c.history.floor || revision > c.revision {
		return View{}, nil, false
	}
	from := c.history.after(revision)
	if c.history.next-from > undoChanges {
		return View{}, nil, false
	}
	for number := from; number < c.history.next; number++ {
		if r := c.history.at(number); r.plural == plural {
			changes = append(changes, r.Change)
		}
	}
	view = t.shown(revision)
	if len(changes) > 0 {
		view.items, view.carried = view.items.Clone(), view.carried.Clone()
	}
	return view, changes, true
}

// undo takes a change back in a view that nobody else has yet.
func (v View) undo(change Change) {
	if change.After != nil {
		v.items.Delete(change.After)
		if change.After.Adapter != "" {
			v.carried.Delete(change.After)
		}
	}
	if change.Before != nil {
		v.items.ReplaceOrInsert(change.Before)
		if change.Before.Adapter != "" {
			v.carried.ReplaceOrInsert(change.Before)
		}
	}
}
