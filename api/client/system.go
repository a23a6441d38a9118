package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// Whoami tells as whom the managers know this client.
func (c *Client) Whoami(ctx context.Context) (api.Whoami, error) {
	return answer[api.Whoami](ctx, c, maxObject, NewGetWhoamiRequest)
}

// AccessReview asks whether this client may do something.
func (c *Client) AccessReview(ctx context.Context, review api.AccessReview) (api.AccessDecision, error) {
	body, err := json.Marshal(review)
	if err != nil {
		return api.AccessDecision{}, err
	}
	return answer[api.AccessDecision](ctx, c, maxObject, func(server string) (*http.Request, error) {
		return NewCreateAccessReviewRequestWithBody(server, contentType, bytes.NewReader(body))
	})
}

// Reachability tells which policies let one device open flows to another, or what keeps it from doing so.
func (c *Client) Reachability(ctx context.Context, question api.GetReachabilityParams) (api.Reachability, error) {
	return answer[api.Reachability](ctx, c, maxObject, func(server string) (*http.Request, error) {
		return given(NewGetReachabilityRequest(server, &question))
	})
}

// Plan tells what changes would do, without doing them.
func (c *Client) Plan(ctx context.Context, wanted api.PlanRequest) (api.Plan, error) {
	body, err := json.Marshal(wanted)
	if err != nil {
		return api.Plan{}, err
	}
	return answer[api.Plan](withPatience(ctx, planPatience), c, maxPlan, func(server string) (*http.Request, error) {
		return NewCreatePlanRequestWithBody(server, contentType, bytes.NewReader(body))
	})
}

// AuditPages hands over the audit records that a query asks for, page by page in the order of their sequence, at least one page.
func (c *Client) AuditPages(ctx context.Context, query api.ListAuditRecordsParams, handle func(api.AuditRecordList) error) error {
	for {
		page, err := answer[api.AuditRecordList](ctx, c, maxList, func(server string) (*http.Request, error) {
			return given(NewListAuditRecordsRequest(server, &query))
		})
		if err != nil {
			return err
		}
		if err := handle(page); err != nil {
			return err
		}
		if query.Continue = page.Metadata.Continue; query.Continue == "" {
			return nil
		}
	}
}

// Backup writes an encrypted copy of the whole state to w, for the age recipients. What w has got is a backup only if there is no error.
func (c *Client) Backup(ctx context.Context, w io.Writer, recipients []string) error {
	return c.do(withPatience(ctx, planPatience), once, func(server string) (*http.Request, error) {
		return NewGetBackupRequest(server, &api.GetBackupParams{Recipient: recipients})
	}, func(response *http.Response) error {
		_, err := io.Copy(w, response.Body)
		return err
	})
}

// Restore writes a decrypted backup into the store of the managers; replace deletes what there is first. It is sent once only.
func (c *Client) Restore(ctx context.Context, backup io.Reader, replace bool) (report api.RestoreReport, err error) {
	err = c.do(withPatience(ctx, restorePatience), once, func(server string) (*http.Request, error) {
		// A reader of its own type keeps the transport from sending it twice.
		return given(NewCreateRestoreRequestWithBody(server, &api.CreateRestoreParams{Replace: replace}, bytesType, struct{ io.Reader }{backup}))
	}, func(response *http.Response) error { return decode(response.Body, maxObject, &report) })
	return report, err
}

// PutAdapterGeneralNodeStatus reports phase, reason, nodeID and conditions of a general node of the adapter.
func (c *Client) PutAdapterGeneralNodeStatus(ctx context.Context, adapter string, g *api.GeneralNode) (*api.GeneralNode, error) {
	kind, body, err := encode(g)
	if err != nil {
		return nil, err
	}
	object, _, err := c.decoded(ctx, kind, func(server string) (*http.Request, error) {
		return NewPutAdapterGeneralNodeStatusRequestWithBody(server, adapter, g.Metadata.Name, contentType, bytes.NewReader(body))
	})
	if err != nil {
		return nil, err
	}
	return object.(*api.GeneralNode), nil
}

// PushAdapterMetrics sends the metrics of the adapter, gzip'ed. A push that was taken already is not counted twice, so it may be repeated.
func (c *Client) PushAdapterMetrics(ctx context.Context, adapter string, params api.PushAdapterMetricsParams, body []byte) error {
	return c.do(ctx, idempotent, func(server string) (*http.Request, error) {
		request, err := NewPushAdapterMetricsRequestWithBody(server, adapter, &params, metricsType, bytes.NewReader(body))
		if err == nil {
			request.Header.Set("Content-Encoding", "gzip")
		}
		return request, err
	}, func(*http.Response) error { return nil })
}

// answer does an operation that changes nothing and answers with a T.
func answer[T any](ctx context.Context, c *Client, limit int64, build request) (answer T, err error) {
	err = c.do(ctx, idempotent, build, func(response *http.Response) error { return decode(response.Body, limit, &answer) })
	return answer, err
}

// DrainReplica asks a live replica to drain and returns it as it is now. Asking again changes nothing.
func (c *Client) DrainReplica(ctx context.Context, name string, trial bool) (*api.Replica, error) {
	kind, _ := api.KindNamed("Replica")
	object, _, err := c.decoded(ctx, kind, func(server string) (*http.Request, error) {
		return given(NewDrainReplicaRequest(server, name, &api.DrainReplicaParams{DryRun: dryRun(trial)}))
	})
	if err != nil {
		return nil, err
	}
	return object.(*api.Replica), nil
}
