//go:build race

package cache

// raceEnabled says that the race detector is on, which makes everything large.
const raceEnabled = true
