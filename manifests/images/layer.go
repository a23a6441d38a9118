// Package images writes the container images of CYPHONIC: an OCI archive for
// each, from nothing but statically linked programs. It needs no daemon, no
// base image and no network, and the same programs give the same bytes.
//
// It must not build programs or know what they do; command build-images does
// the former.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// File is one file or folder of an image.
type File struct {
	Path    string // without a leading slash; a folder ends with one
	Mode    int64
	Content []byte
	Owner   int // user and group
}

// epoch is the time of everything in an image, so that equal programs give equal images.
var epoch = time.Unix(0, 0).UTC()

// layer packs files in the order given. It returns the compressed layer and the digest of the uncompressed one.
func layer(files []File) (compressed []byte, diffID string, err error) {
	var out bytes.Buffer
	// No name and no time in the header: gzip would add the present time otherwise.
	packed, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, "", err
	}
	digest := sha256.New()
	archive := tar.NewWriter(io.MultiWriter(packed, digest))
	for _, f := range files {
		header := &tar.Header{
			Name: f.Path, Mode: f.Mode, Size: int64(len(f.Content)), Uid: f.Owner, Gid: f.Owner,
			ModTime: epoch, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		if f.Path[len(f.Path)-1] == '/' {
			header.Typeflag = tar.TypeDir
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Path, err)
		}
		if _, err := archive.Write(f.Content); err != nil {
			return nil, "", fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, "", err
	}
	if err := packed.Close(); err != nil {
		return nil, "", err
	}
	return out.Bytes(), "sha256:" + hex.EncodeToString(digest.Sum(nil)), nil
}
