package cache

import "time"

const (
	// historyChanges and historyBytes bound the changes that are remembered.
	// Over them the oldest are forgotten, and who resumes from before those
	// must list again.
	historyChanges = 100_000
	historyBytes   = 128 << 20
	// changeOverhead is what a remembered change costs besides the values.
	changeOverhead = 400
	// recallRevisions is how many revisions before the newest a fresh cache
	// reads about, so that clients of a manager that was restarted resume. etcd
	// takes all keys that were written in them into its memory at once.
	// recallTimeout is how long that may take. It begins with recallFirst and
	// goes recallGrowth times as far back as long as that can be expected to
	// take no longer than recallStep.
	recallRevisions = 20_000
	recallFirst     = 800
	recallGrowth    = 5
	recallStep      = time.Second
	recallTimeout   = 5 * time.Second
	// scanChanges is about how many changes a subscription looks at while it
	// holds the lock, and returns at once.
	scanChanges = 4096
	// pendingChanges bounds the changes that wait for one subscription by
	// adapter or by name. At the bound those of one resource are merged; if
	// that does not make half of the room free the subscription is cut off and
	// its client lists again.
	pendingChanges = 8192
	// subscriptionLimit bounds the subscriptions.
	subscriptionLimit = 100_000
	// loadPage is how many resources are read at once.
	loadPage = 10_000
	// parsePart is how many of them one goroutine parses at a time.
	parsePart = 500
	// labelSets bounds the table of label maps that resources share. When it is
	// full it begins anew; what is shared already stays so.
	labelSets = 65_536
	// maxPins bounds the views kept for lists that are read in pages, pinTime
	// for how long. Over the bound the oldest goes.
	maxPins = 256
	pinTime = 5 * time.Minute
	// freshTimeout bounds Fresh: the store does not answer, or the watch does
	// not follow.
	freshTimeout = 2 * time.Second
	// probeInterval is how often the cache checks that it is current while
	// nobody asks.
	probeInterval = time.Second
	// progressGrace is how long a change may take to come by itself before the
	// watch is asked for progress, progressInterval how often it is asked again.
	progressGrace    = 500 * time.Microsecond
	progressInterval = 20 * time.Millisecond
	// retryMin and retryMax bound the pause before the store is tried again.
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
	// undoChanges bounds the changes that At undoes: about 20 ms.
	undoChanges = 16_384
	// treeDegree is the degree of the trees: wide nodes waste little memory,
	// narrow ones are copied faster.
	treeDegree = 32
)
