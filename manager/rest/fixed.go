package rest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// fixed is an answer that is the same as long as the process runs. Clients keep
// it, and ask whether it is still the same: a newer manager has another.
type fixed struct {
	contentType   string
	tag           string // entity tag, without quotes
	plain, packed []byte // packed: with gzip
	header        http.Header
}

func newFixed(contentType string, body []byte, header http.Header) (*fixed, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress an answer: %w", err)
	}
	if _, err := z.Write(body); err != nil {
		return nil, fmt.Errorf("compress an answer: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress an answer: %w", err)
	}
	sum := sha256.Sum256(body)
	return &fixed{contentType: contentType, tag: base64.RawURLEncoding.EncodeToString(sum[:12]), plain: body, packed: b.Bytes(), header: header}, nil
}

// answer is for one client.
func (f *fixed) answer(ctx context.Context) *answer {
	wish := wishOf(ctx)
	a := &answer{status: http.StatusOK, contentType: f.contentType, body: f.plain, header: f.header.Clone()}
	tag := f.tag
	if wish.gzip {
		a.body, tag = f.packed, f.tag+"-gzip"
		a.note("Content-Encoding", "gzip")
	}
	a.etag = tag
	a.note("Vary", "Accept-Encoding")
	a.note("Cache-Control", "no-cache")
	if wish.noneMatch != "" && etagMatches(wish.noneMatch, tag) {
		a.status, a.body = http.StatusNotModified, nil
	}
	return a
}

// wish is what a request says about the form of a fixed answer.
type wish struct {
	noneMatch string // If-None-Match
	gzip      bool   // Accept-Encoding has it
}

type wishKey struct{}

func wishOf(ctx context.Context) wish {
	w, _ := ctx.Value(wishKey{}).(wish)
	return w
}

// withWish notes the wish of a request that has one.
func withWish(ctx context.Context, h http.Header) context.Context {
	w := wish{noneMatch: h.Get("If-None-Match")}
	for coding := range strings.SplitSeq(h.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if strings.TrimSpace(name) == "gzip" && strings.ReplaceAll(weight, " ", "") != "q=0" {
			w.gzip = true
		}
	}
	if w == (wish{}) {
		return ctx
	}
	return context.WithValue(ctx, wishKey{}, w)
}
