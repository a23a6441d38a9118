package rest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"

	"github.com/cyphonic/cyphonic/api"
)

// page is where a list goes on. The client carries it as metadata.continue, so
// that any replica can answer the next page.
type page struct {
	revision int64  // that all pages show
	after    string // the last name that was looked at, whether it was shown or not
	sent     int64  // items on the pages before
	total    int64  // items of the whole list, or unknownTotal
}

// unknownTotal is the total of lists that leave items out.
const unknownTotal = -1

const (
	pageVersion = 1
	// pageSumBytes is what is kept of the digest that binds a token to its list.
	pageSumBytes = 12
)

// token writes a page as text:
//
//	version(1) | digest(12) | revision, sent, total+1 as uvarints | after
//
// in base64url. scope is the list that the page belongs to: a token of another
// list, with other selectors or of another kind, is refused. The digest is
// neither secret nor proof of origin, and need not be: with a token that it made
// up, a client sees what it may see anyway, at a revision that it can watch from.
func (p page) token(scope string) string {
	body := p.body()
	sum := pageSum(scope, body)
	out := make([]byte, 0, 1+len(sum)+len(body))
	out = append(out, pageVersion)
	out = append(out, sum...)
	out = append(out, body...)
	return base64.RawURLEncoding.EncodeToString(out)
}

func (p page) body() []byte {
	b := binary.AppendUvarint(nil, uint64(p.revision))
	b = binary.AppendUvarint(b, uint64(p.sent))
	b = binary.AppendUvarint(b, uint64(p.total-unknownTotal))
	return append(b, p.after...)
}

func pageSum(scope string, body []byte) []byte {
	h := sha256.New()
	h.Write([]byte("cyphonic continue\x00" + scope + "\x00"))
	h.Write(body)
	return h.Sum(nil)[:pageSumBytes]
}

// parsePage reads a token of the same scope.
func parsePage(scope, token string) (page, error) {
	bad := func() (page, error) {
		return page{}, refuse(http.StatusBadRequest, typeInvalid, "continue is not one that the manager gave out for this list: ask with the same path and selectors, or begin again without continue")
	}
	if len(token) > maxContinueBytes {
		return bad()
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < 1+pageSumBytes || raw[0] != pageVersion {
		return bad()
	}
	body := raw[1+pageSumBytes:]
	if string(raw[1:1+pageSumBytes]) != string(pageSum(scope, body)) {
		return bad()
	}
	var values [3]uint64
	for i := range values {
		v, n := binary.Uvarint(body)
		if n <= 0 || v > 1<<62 {
			return bad()
		}
		values[i], body = v, body[n:]
	}
	p := page{revision: int64(values[0]), sent: int64(values[1]), total: int64(values[2]) + unknownTotal, after: string(body)}
	if p.revision <= 0 || p.after == "" || strings.ContainsAny(p.after, "/\x00") || string(p.body()) != string(raw[1+pageSumBytes:]) {
		return bad()
	}
	return p, nil
}

// meta is the metadata of a page. next is nil on the last one.
func (p page) meta(scope string, items int, next *page) api.ListMeta {
	m := api.ListMeta{ResourceVersion: formatRevision(p.revision)}
	if next == nil {
		return m
	}
	m.Continue = next.token(scope)
	if p.total != unknownTotal {
		m.RemainingItemCount = max(0, p.total-p.sent-int64(items))
	}
	return m
}
