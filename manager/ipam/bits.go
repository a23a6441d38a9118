package ipam

import "math/bits"

// position is the place of an address in its prefix: 128 bits. An IPv4 address
// has only the low ones.
type position struct{ hi, lo uint64 }

func (p position) less(q position) bool { return p.hi < q.hi || (p.hi == q.hi && p.lo < q.lo) }

func (p position) next() position {
	p.lo++
	if p.lo == 0 {
		p.hi++
	}
	return p
}

// plus adds n; wrapped says that the sum does not fit.
func (p position) plus(n uint64) (sum position, wrapped bool) {
	lo, carry := bits.Add64(p.lo, n, 0)
	hi, carry := bits.Add64(p.hi, 0, carry)
	return position{hi, lo}, carry != 0
}

// word is which word of 64 positions a position is in, and where in it.
func (p position) word() (word position, bit uint) {
	return position{p.hi >> 6, p.lo>>6 | p.hi<<58}, uint(p.lo & 63)
}

// of is the position of a bit of a word.
func of(word position, bit int) position {
	return position{word.hi<<6 | word.lo>>58, word.lo<<6 | uint64(bit)}
}

// levels is how many sets of full words there are above a set: with four, the
// search for a free place looks at few words however many are full.
const levels = 4

// set is a set of positions: 64 in one word where they lie close together,
// as allocated addresses do, so that a million of them take little memory.
// The zero set is not ready; use newSet.
type set struct {
	words map[position]uint64
	full  *set // the words that are full; nil at the top
	count int
}

func newSet() *set { return newLevel(levels) }

func newLevel(above int) *set {
	s := &set{words: make(map[position]uint64)}
	if above > 0 {
		s.full = newLevel(above - 1)
	}
	return s
}

func (s *set) has(p position) bool {
	w, bit := p.word()
	return s.words[w]&(1<<bit) != 0
}

// add adds a position and says whether it was not there.
func (s *set) add(p position) bool {
	w, bit := p.word()
	old := s.words[w]
	if old&(1<<bit) != 0 {
		return false
	}
	s.words[w] = old | 1<<bit
	s.count++
	if s.full != nil && old|1<<bit == ^uint64(0) {
		s.full.add(w)
	}
	return true
}

func (s *set) remove(p position) {
	w, bit := p.word()
	old := s.words[w]
	if old&(1<<bit) == 0 {
		return
	}
	s.count--
	if s.full != nil && old == ^uint64(0) {
		s.full.remove(w)
	}
	if old &^= 1 << bit; old == 0 {
		delete(s.words, w)
		return
	}
	s.words[w] = old
}

// free returns the lowest position, from one on, that is not in the set.
func (s *set) free(from position) position {
	for {
		w, bit := from.word()
		if gaps := ^s.words[w] >> bit << bit; gaps != 0 {
			return of(w, bits.TrailingZeros64(gaps))
		}
		w = w.next()
		if s.full != nil {
			w = s.full.free(w)
		}
		from = of(w, 0)
	}
}

// lowest returns the lowest position in the set from one on. It looks at the
// whole set, which must be small.
func (s *set) lowest(from position) (lowest position, ok bool) {
	first, bit := from.word()
	for w, word := range s.words {
		if w.less(first) {
			continue
		}
		if w == first {
			word = word >> bit << bit
		}
		if word == 0 {
			continue
		}
		if at := of(w, bits.TrailingZeros64(word)); !ok || at.less(lowest) {
			lowest, ok = at, true
		}
	}
	return lowest, ok
}
