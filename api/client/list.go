package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/cyphonic/cyphonic/api"
)

// ListOptions choose what a list has; the zero value is everything.
type ListOptions struct {
	Labels  string // label selector, as in role=camera,site in (hall-1,hall-2)
	Fields  string // field selector, as in spec.network=factory
	Limit   int    // items of a page; 0: as many as the manager gives
	Restart func() // for ListPages: called where the pages begin anew because the revision of the first ones is no longer kept; nil: that is an error (see IsGone)
}

// List returns the resources of a kind in the order of their names, all at one revision.
func (c *Client) List(ctx context.Context, kind api.Kind, o ListOptions) (api.List, error) {
	all := kind.NewList("", nil)
	o.Restart = func() { all.Items = all.Items[:0] }
	err := c.ListPages(ctx, kind, o, func(page api.List) error {
		all.Metadata.ResourceVersion = page.Metadata.ResourceVersion
		all.Items = append(all.Items, page.Items...)
		return nil
	})
	if err != nil {
		return api.List{}, err
	}
	return all, nil
}

// ListPages hands over the list page by page, at least one. All pages are of one revision; metadata.continue of a page tells whether another one follows.
func (c *Client) ListPages(ctx context.Context, kind api.Kind, o ListOptions, handle func(page api.List) error) error {
	of := operationsOf(kind.Name)
	if of.list == nil {
		return fmt.Errorf("there are no operations for the kind %q", kind.Name)
	}
	params := listParams{Limit: o.Limit, LabelSelector: o.Labels, FieldSelector: o.Fields}
	return c.pages(ctx, kind, o.Restart, handle, func(server, next string) (*http.Request, error) {
		params.Continue = next
		return given(of.list(server, &params))
	})
}

// ListAdapterGeneralNodes returns the general nodes of an adapter.
func (c *Client) ListAdapterGeneralNodes(ctx context.Context, adapter string) (api.List, error) {
	kind, _ := api.KindNamed("GeneralNode")
	all := kind.NewList("", nil)
	handle := func(page api.List) error {
		all.Metadata.ResourceVersion = page.Metadata.ResourceVersion
		all.Items = append(all.Items, page.Items...)
		return nil
	}
	err := c.pages(ctx, kind, func() { all.Items = all.Items[:0] }, handle, func(server, next string) (*http.Request, error) {
		return given(NewListAdapterGeneralNodesRequest(server, adapter, &api.ListAdapterGeneralNodesParams{Continue: next}))
	})
	return all, err
}

func (c *Client) pages(
	ctx context.Context, kind api.Kind, restart func(), handle func(page api.List) error, build func(server, next string) (*http.Request, error),
) error {
	restarts := 0
	for next := ""; ; {
		page, err := c.page(ctx, kind, func(server string) (*http.Request, error) { return build(server, next) })
		if IsGone(err) && next != "" && restart != nil && restarts < maxRestarts {
			restart()
			restarts++
			next = ""
			continue
		}
		if err != nil {
			return err
		}
		if err := handle(page); err != nil {
			return err
		}
		if next = page.Metadata.Continue; next == "" {
			return nil
		}
	}
}

func (c *Client) page(ctx context.Context, kind api.Kind, build request) (page api.List, err error) {
	err = c.do(ctx, idempotent, build, func(response *http.Response) error {
		data, err := readBounded(response.Body, maxList)
		if err != nil {
			return err
		}
		if page, err = kind.DecodeList(data); err != nil {
			return fmt.Errorf("the answer is not a %sList: %w", kind.Name, err)
		}
		return nil
	})
	return page, err
}
