package repository

import "time"

const (
	// dialTimeout bounds the connection to a git server, with its handshake.
	dialTimeout = 15 * time.Second
	// headerTimeout bounds the wait for an answer's header; a server counts
	// and compresses before it sends one.
	headerTimeout = 60 * time.Second
	// maxRedirects bounds the redirects of one request.
	maxRedirects = 5
	// maxReceived bounds the bytes of one session: references and pack.
	maxReceived = 32 << 20
	// maxInflated bounds the unpacked size of all objects of a commit.
	maxInflated = 128 << 20
	// maxObjects bounds the objects of a commit: files and folders.
	maxObjects = 100_000
	// maxVisited bounds the entries that are looked at in the folders of a
	// commit. A repository of few objects can name the same folder often.
	maxVisited = 200_000
	// maxDepth bounds folders in folders.
	maxDepth = 64
	// maxFiles and maxFileBytes bound the manifests of a commit.
	maxFiles     = 5_000
	maxFileBytes = 16 << 20
	// maxSecretBytes bounds a file with credentials.
	maxSecretBytes = 64 << 10
	// maxErrorText bounds what is repeated of a server's own words.
	maxErrorText = 300
)
