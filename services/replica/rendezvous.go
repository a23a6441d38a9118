package replica

import "slices"

// Rendezvous returns the n names with the highest rendezvous hash (Thaler and Ravishankar, 1998) of the key, the
// highest first: whoever knows the same names comes to the same answer, and a name that comes or goes moves only the
// keys that are or were its own. The order of names does not matter; they are not changed. The hash is part of what
// replicas of different versions agree on and must not be changed.
func Rendezvous[K ~string | ~[]byte](key K, names []string, n int) []string {
	return AppendRendezvous(nil, key, names, n)
}

// AppendRendezvous appends what Rendezvous returns to dst and, for up to eight names, allocates nothing if there is
// room in it.
func AppendRendezvous[K ~string | ~[]byte](dst []string, key K, names []string, n int) []string {
	var room [8]uint64
	scores, start, seed := room[:0], len(dst), fnv1a(key)
	for _, name := range names {
		x, at := score(seed, name), len(scores)
		for at > 0 && (x > scores[at-1] || x == scores[at-1] && name < dst[start+at-1]) {
			at--
		}
		if at >= n {
			continue
		}
		if len(scores) == n {
			scores, dst = scores[:n-1], dst[:start+n-1]
		}
		scores, dst = slices.Insert(scores, at, x), slices.Insert(dst, start+at, name)
	}
	return dst
}

// score is the rendezvous hash of a name. Both hashes go through the finalizer of SplitMix64, so that names that
// differ in one digit share keys evenly.
func score(seed uint64, name string) uint64 { return mix(mix(fnv1a(name)) ^ seed) }

// fnv1a is the 64-bit FNV-1a hash.
func fnv1a[K ~string | ~[]byte](key K) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 0x100000001b3
	}
	return h
}

func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
