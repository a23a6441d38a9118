package statusapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
)

// ErrNotRunning means that no agent answers on the socket.
var ErrNotRunning = errors.New("the agent is not running")

// maxAnswer bounds what the client reads, in bytes.
const maxAnswer = 64 << 20

// Client talks to a running agent.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the agent behind a unix socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status decodes the agent's status into v.
func (c *Client) Status(ctx context.Context, v any) error {
	return c.call(ctx, http.MethodGet, "/status", nil, v)
}

// Connect asks the agent to reach a peer by FQDN or virtual IP and decodes the answer into v.
func (c *Client) Connect(ctx context.Context, name string, v any) error {
	body, err := json.Marshal(ConnectRequest{Name: name})
	if err != nil {
		return err
	}
	return c.call(ctx, http.MethodPost, "/connect", body, v)
}

func (c *Client) call(ctx context.Context, method, path string, body []byte, v any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w: nothing answers on %s; start it, or name its socket with --socket", ErrNotRunning, c.socket)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("no access to %s: run as root or as a member of the socket's group", c.socket)
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var p Problem
		if json.Unmarshal(answer, &p) == nil && p.Detail != "" {
			return errors.New(p.Detail)
		}
		return fmt.Errorf("the agent answered %s", response.Status)
	}
	return json.Unmarshal(answer, v)
}
