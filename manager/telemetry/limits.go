package telemetry

import "time"

// PushInterval is how often adapters push; they add a little chance to it.
const PushInterval = 15 * time.Second

const (
	// staleAfter is how long after its last push an adapter is shown: two and a half intervals, so that one lost push is
	// not seen.
	staleAfter = PushInterval * 5 / 2
	// sweepInterval is how often what is stale is freed.
	sweepInterval = 5 * time.Second
)

// Bounds of one push. What is over one of the first three is refused as a whole, the rest family by family.
const (
	// maxCompressed bounds the body as it comes.
	maxCompressed = 512 << 10
	// maxExpanded bounds the body after decompression.
	maxExpanded = 4 << 20
	// maxFamily bounds one family in it.
	maxFamily = 1 << 20
	// maxFamilies bounds the families of one adapter.
	maxFamilies = 256
	// maxSeries bounds the series of one adapter; each bucket of a histogram is one.
	maxSeries = 2000
	// maxBuckets bounds the buckets or quantiles of one metric.
	maxBuckets = 64
	// maxLabels bounds the labels of one metric.
	maxLabels = 8
	// maxName bounds the length of the name of a metric or label, maxValue that of the value of a label, maxHelp that of
	// a help text; in bytes.
	maxName  = 128
	maxValue = 128
	maxHelp  = 512
)

// Bounds of all adapters together.
const (
	// defaultMaxBytes bounds the memory for what adapters have pushed; over it pushes of further adapters are refused.
	defaultMaxBytes = 512 << 20
	// maxAdapters bounds the adapters that push to one manager.
	maxAdapters = 20000
	// maxDecoding bounds the pushes that are decoded at once; the others wait.
	maxDecoding = 8
	// pushBurst and pushRefill bound how often one adapter may push: that many at once, and another one each pushRefill.
	pushBurst  = 4
	pushRefill = PushInterval / 4
	// recordOverhead is what an adapter costs besides its text and its families, familyOverhead what a family does; in
	// bytes, as measured.
	recordOverhead = 512
	familyOverhead = 96
	// maxShards is how many shards targets and questions name; shardAdapters how many adapters a shard is made for.
	maxShards     = 256
	shardAdapters = 250
)

// Times of the presence of managers.
const (
	// presenceInterval is how often a manager says that it is there, and looks who else is.
	presenceInterval = 5 * time.Second
	// presenceLife is how long it is believed.
	presenceLife = 20 * time.Second
	// maxReplicas bounds the managers in the targets.
	maxReplicas = 64
)
