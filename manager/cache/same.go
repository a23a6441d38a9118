package cache

// Same says that both views show the same resources, whatever else has changed
// in the store in between: what was worked out from one holds for the other.
func (v View) Same(other View) bool { return v.plural == other.plural && v.items == other.items }
