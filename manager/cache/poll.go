package cache

// Woken is readable when Poll may have something: for who waits for several
// things at once.
func (s *Subscription) Woken() <-chan struct{} { return s.wake }

// Poll is Next without waiting: where Next would wait it returns no changes.
func (s *Subscription) Poll() ([]Change, int64, error) {
	changes, revision, more, err := s.take()
	if err != nil {
		return nil, 0, err
	}
	if more {
		s.rouse()
	}
	return matching(merged(changes), s.match), revision, nil
}
