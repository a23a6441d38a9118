package backup

import "time"

const (
	// chunkBytes is how large the records of a chunk should about be, maxChunk
	// how large they can be: a value, at most 3 MiB, may come on top.
	chunkBytes = 4 << 20
	maxChunk   = 16 << 20
	// maxHeader bounds the header.
	maxHeader = 4 << 10
	// heldBytes bounds the compressed chunks that are held in memory until the
	// whole backup has been verified. What is larger is written while it is
	// verified, chunk by chunk.
	heldBytes = 512 << 20
	// readPage is how many keys are read at once.
	readPage = 10_000
	// writers is how many transactions are under way at once: a disk that
	// writes them together is no faster with more.
	writers = 16
	// transactionBytes bounds a transaction; etcd takes 1.5 MiB by default.
	transactionBytes = 1 << 20
	// yieldPart is how many records of the audit log move in one transaction.
	yieldPart = 32
	// attempts is how often a transaction is tried while the store is not
	// available, retryInterval the first pause, which doubles.
	attempts      = 8
	retryInterval = 100 * time.Millisecond
	// office is the name that whoever restores is elected for.
	office = "restore"
	// officeTTL is how long a manager that died while it restored stands in
	// the way of the next, officeWait how long to wait for another that
	// restores.
	officeTTL  = 15 * time.Second
	officeWait = time.Second
)
