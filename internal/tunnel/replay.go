package tunnel

// ReplayWindow is how many counters below the highest one accepted are still told apart.
const ReplayWindow = 8192

const (
	wordBits    = 64
	replayWords = ReplayWindow/wordBits + 1 // one more: the word of the highest counter is filling
)

// replayFilter remembers which counters have been accepted: a ring of words, one bit for each counter, in
// the manner of RFC 6479. The zero value has accepted none.
type replayFilter struct {
	highest uint64 // word number (counter / 64) of the highest accepted counter
	ring    [replayWords]uint64
}

// accept reports whether the counter is neither too old nor seen, and marks it as seen.
func (f *replayFilter) accept(counter uint64) bool {
	word := counter / wordBits
	switch {
	case word > f.highest:
		// Everything between is unseen; after a whole turn of the ring there is nothing old left to clear.
		for w := f.highest + 1; w <= word && w <= f.highest+replayWords; w++ {
			f.ring[w%replayWords] = 0
		}
		f.highest = word
	case f.highest-word >= replayWords:
		return false
	}
	bit := uint64(1) << (counter % wordBits)
	slot := &f.ring[word%replayWords]
	if *slot&bit != 0 {
		return false
	}
	*slot |= bit
	return true
}
