package nms

// replayBits is the size of the replay window in counters.
const replayBits = 256

// replayWindow remembers which of the last replayBits counters have been seen.
// The zero value has seen none.
type replayWindow struct {
	used bool // a counter has been seen
	top  uint64
	bits [replayBits / 64]uint64 // counter c at bit c % replayBits
}

// fresh reports whether a counter has not been seen and is not too old to tell.
func (w *replayWindow) fresh(c uint64) bool {
	if !w.used || c > w.top {
		return true
	}
	if w.top-c >= replayBits {
		return false
	}
	return w.bits[c%replayBits/64]&(1<<(c%64)) == 0
}

// mark records a counter for which fresh is true.
func (w *replayWindow) mark(c uint64) {
	if !w.used {
		w.used, w.top = true, c
	}
	if c > w.top {
		if c-w.top >= replayBits {
			w.bits = [replayBits / 64]uint64{}
		} else {
			for i := w.top + 1; i <= c; i++ {
				w.bits[i%replayBits/64] &^= 1 << (i % 64)
			}
		}
		w.top = c
	}
	w.bits[c%replayBits/64] |= 1 << (c % 64)
}

// shut takes a counter and all that are below it as seen.
func (w *replayWindow) shut(c uint64) {
	if !w.used || c > w.top {
		w.used, w.top = true, c
	}
	for i := range w.bits {
		w.bits[i] = ^uint64(0)
	}
}

// merge takes what another window has seen as seen.
func (w *replayWindow) merge(o replayWindow) {
	if !o.used {
		return
	}
	if !w.used || o.top > w.top {
		*w, o = o, *w
	}
	if !o.used {
		return
	}
	for i := range uint64(replayBits) {
		// o has seen all counters that are too old for it; those that w can still tell apart are marked.
		c := w.top - i
		if c > w.top {
			return // below 0
		}
		if c <= o.top && !o.fresh(c) {
			w.bits[c%replayBits/64] |= 1 << (c % 64)
		}
	}
}
