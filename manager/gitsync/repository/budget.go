package repository

import "io"

// bounds are the limits of a session; tests lower them.
type bounds struct {
	received, inflated, fileBytes    int64
	objects, visited, depth, maxFile int
}

func standardBounds() bounds {
	return bounds{
		received: maxReceived, inflated: maxInflated, fileBytes: maxFileBytes,
		objects: maxObjects, visited: maxVisited, depth: maxDepth, maxFile: maxFiles,
	}
}

// budget counts down the bytes that a session may still receive. It belongs
// to the goroutine of the session and to the one that reads for it.
type budget struct {
	left  int64
	cause error // the first error of the transport, which libraries hide
}

func (b *budget) fail(err error) error {
	if b.cause == nil && err != nil && err != io.EOF {
		b.cause = err
	}
	return err
}

// reader reads within the budget.
type reader struct {
	from   io.Reader
	budget *budget
}

func (r *reader) Read(p []byte) (int, error) {
	if r.budget.left <= 0 {
		return 0, r.budget.fail(faultf(ReasonTooLarge, "the server sends more than %d MiB: keep the manifests in a repository of their own", maxReceived>>20))
	}
	if int64(len(p)) > r.budget.left {
		p = p[:r.budget.left]
	}
	n, err := r.from.Read(p)
	r.budget.left -= int64(n)
	return n, r.budget.fail(err)
}
