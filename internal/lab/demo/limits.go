package demo

import "time"

const (
	// demoTimeout bounds the whole demo after the build.
	demoTimeout = 2 * time.Minute
	// startTimeout bounds each step that waits for a program.
	startTimeout = 40 * time.Second
	// pathTimeout bounds the wait for a change of path.
	pathTimeout = 45 * time.Second
	// fileSize of the file that the demo fetches, in bytes.
	fileSize = 200 << 20
	// smallFileSize of the file that cam2 fetches, in bytes.
	smallFileSize = 50 << 20
	// relayedFileSize of the file fetched through the relay, in bytes.
	relayedFileSize = 32 << 20
	// streamInterval between the records of the connection that stays open.
	streamInterval = 5 * time.Millisecond
	// showTime is how long the demo watches the stream in each state.
	showTime = 2 * time.Second
)
