package balancer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// ClientOptions are what a Client needs.
type ClientOptions struct {
	Socket       string       // path of the unix socket of the speaker
	Registration Registration // Version and State are filled in
	Log          *slog.Logger
	// Changed is told whether the speaker sends new flows here, whenever that may have changed. It must not block.
	Changed func(inService bool)
}

// Client keeps one replica registered with the speaker of its host. Its methods are safe for concurrent use.
type Client struct {
	// constant
	options ClientOptions

	// under mu
	mu       sync.Mutex
	state    keyspace.ReplicaState
	answer   Answer        // the last one of this connection
	joined   bool          // a connection has been answered at some time
	replaced chan struct{} // closed when one of these changes
}

// NewClient returns a client whose state is Starting.
func NewClient(o ClientOptions) *Client {
	return &Client{options: o, state: keyspace.ReplicaStarting, replaced: make(chan struct{})}
}

// change alters what is under mu and wakes those who wait for it.
func (c *Client) change(f func()) {
	c.mu.Lock()
	before := c.answer.InService
	f()
	close(c.replaced)
	c.replaced = make(chan struct{})
	after := c.answer.InService
	c.mu.Unlock()
	if before != after {
		c.options.Changed(after)
	}
}

// SetState tells the speaker where the replica is in its life, as soon as it can be told.
func (c *Client) SetState(state keyspace.ReplicaState) { c.change(func() { c.state = state }) }

// Joined waits until the speaker has its rules for this replica, which must follow SetState(Ready), or ctx ends.
func (c *Client) Joined(ctx context.Context) error {
	if err := c.until(ctx, func() bool { return c.answer.State == c.state }); err != nil {
		return fmt.Errorf("the speaker has not answered: %w", err)
	}
	return nil
}

// Withdrawn waits until the speaker has confirmed that it sends no new flow here any more. It must follow
// SetState(Leaving). It returns at once if this replica never was registered, or gets nothing by the speaker; a speaker that is away just now may have
// left its rules in place, so its return is waited for until ctx ends.
func (c *Client) Withdrawn(ctx context.Context) error {
	done := func() bool { return !c.joined || c.answer.State == c.state && !c.answer.InService }
	if err := c.until(ctx, done); err != nil {
		return fmt.Errorf("the speaker has not confirmed that it sends nothing more: %w", err)
	}
	return nil
}

// until waits until done, which is called under mu, reports true, or ctx ends. A replica that gets nothing by the speaker does
// not wait.
func (c *Client) until(ctx context.Context, done func() bool) error {
	for !c.options.Registration.Direct {
		c.mu.Lock()
		is, replaced := done(), c.replaced
		c.mu.Unlock()
		if is {
			return nil
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Run keeps the replica registered until ctx ends and returns nil then; the speaker takes the replica out at once.
func (c *Client) Run(ctx context.Context) error {
	delay := retryMin
	for quiet := false; ctx.Err() == nil; {
		answered, err := c.connect(ctx)
		c.change(func() { c.answer = Answer{} })
		if ctx.Err() != nil {
			return nil
		}
		if answered {
			delay, quiet = retryMin, false
		}
		if errors.Is(err, errRefused) {
			delay, quiet = refusedDelay, false
		}
		if !quiet { // once for each time that the speaker is away
			c.options.Log.Warn("not registered with the speaker of this host, trying again", "socket", c.options.Socket, "error", err)
			quiet = true
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		delay = min(2*delay, retryMax)
	}
	return nil
}

var errRefused = errors.New("the speaker refuses the registration")

// connect registers over one connection until it ends. answered says that the speaker took the registration.
func (c *Client) connect(ctx context.Context) (answered bool, err error) {
	raw, err := new(net.Dialer).DialContext(ctx, "unix", c.options.Socket)
	if err != nil {
		return false, err
	}
	defer func() { _ = raw.Close() }()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return raw.Close()
	})
	group.Go(func() error { return c.tell(ctx, raw) })
	group.Go(func() error {
		var err error
		answered, err = c.listen(raw)
		return err
	})
	err = group.Wait()
	return answered, err
}

// tell sends the registration, and again whenever the state has changed.
func (c *Client) tell(ctx context.Context, conn net.Conn) error {
	message := c.options.Registration
	message.Version = Version
	for {
		c.mu.Lock()
		state, replaced := c.state, c.replaced
		c.mu.Unlock()
		if state != message.State {
			message.State = state
			if err := write(conn, message); err != nil {
				return err
			}
		}
		select {
		case <-replaced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func write(conn net.Conn, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode for the speaker: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(WriteTimeout)); err != nil {
		return err
	}
	_, err = conn.Write(append(line, '\n'))
	return err
}

// listen takes the answers of one connection. Fields that it does not know are of a later speaker.
func (c *Client) listen(conn net.Conn) (answered bool, err error) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(make([]byte, 0, 4096), MaxMessage)
	for lines.Scan() {
		var answer Answer
		if err := json.Unmarshal(lines.Bytes(), &answer); err != nil {
			return answered, fmt.Errorf("answer of the speaker: %w", err)
		}
		if answer.Error != "" {
			return answered, fmt.Errorf("%w: %s", errRefused, answer.Error)
		}
		if answer.Version != Version {
			return answered, fmt.Errorf("%w: it speaks version %d, this program %d: update the older one", errRefused, answer.Version, Version)
		}
		answered = true
		c.change(func() { c.answer, c.joined = answer, true })
	}
	if err := lines.Err(); err != nil {
		return answered, err
	}
	return answered, errors.New("the speaker has closed the connection")
}
