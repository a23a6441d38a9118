package rest

import (
	"context"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/manager/access"
	"github.com/cyphonic/cyphonic/manager/audit"
)

// ListAuditRecords answers with a page of the audit log. Who has the right in
// some networks only sees the records about these.
func (s *Server) ListAuditRecords(ctx context.Context, r ListAuditRecordsRequestObject) (ListAuditRecordsResponseObject, error) {
	p := r.Params
	q := audit.Query{
		Since: p.Since, Until: p.Until, Subject: p.Subject, Verb: p.Verb, Kind: p.Kind, Name: p.Name, Network: p.Network, Outcome: p.Outcome,
		Limit: maxPageItems,
	}
	if p.Limit > 0 {
		q.Limit = min(p.Limit, maxPageItems)
	}
	if p.Continue != "" {
		after, ok := parseAuditToken(p.Continue)
		if !ok {
			return nil, refuse(http.StatusBadRequest, typeInvalid, "continue is not one that the manager gave out for the audit log: begin again without it")
		}
		q.After = after
	}
	if everywhere, in := s.access.Networks(principalOf(ctx), access.List, access.KindAudit); !everywhere {
		q.Visible = func(r *audit.Record) bool { return in(r.Network) }
	}
	got, err := s.audit.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	list := api.AuditRecordList{
		ApiVersion: api.Version, Kind: "AuditRecordList", Base: got.Base, Items: got.Items,
		Metadata: api.ListMeta{ResourceVersion: formatRevision(got.Revision)},
	}
	if list.Items == nil {
		list.Items = []api.AuditRecord{}
	}
	if got.Next > 0 {
		list.Metadata.Continue = auditToken(got.Next)
	}
	return answerJSON(list)
}

// VisitListAuditRecordsResponse writes the answer.
func (a *answer) VisitListAuditRecordsResponse(w http.ResponseWriter) error { return a.write(w) }

// auditTokenPrefix tells the tokens of the audit log from those of lists.
const auditTokenPrefix = "audit:"

func auditToken(after int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(auditTokenPrefix + strconv.FormatInt(after, 10)))
}

func parseAuditToken(token string) (after int64, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return 0, false
	}
	digits, ok := strings.CutPrefix(string(raw), auditTokenPrefix)
	if !ok {
		return 0, false
	}
	after, err = strconv.ParseInt(digits, 10, 64)
	return after, err == nil && after > 0
}
