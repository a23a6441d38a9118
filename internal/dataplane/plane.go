package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/cyphonic/cyphonic/internal/tun"
	"github.com/cyphonic/cyphonic/internal/tunnel"
	"github.com/cyphonic/cyphonic/internal/udp"
)

// ErrFull is returned when a table has reached its bound.
var ErrFull = errors.New("dataplane: table is full")

// ErrDuplicate is returned when addresses or a receiver index are taken by another association.
var ErrDuplicate = errors.New("dataplane: already in the table")

// Handler takes what the data plane does not deal with. Its methods are called from data
// plane goroutines: they must not block and not keep the slices. They may call the Plane's and
// the Association's methods, except that Miss must not call Inject.
type Handler interface {
	// Miss gets an outbound packet for which there is no association, or an association
	// without session. No filter has been applied yet.
	Miss(src, dst netip.Addr, packet []byte)
	// Datagram gets every datagram with a known version and type that is not Data for a known
	// session: those of other types, Data with an unknown receiver index, Data of a
	// handshake (wire.FlagHandshake). Relay framing is removed; from.Channel is its channel.
	// Nothing about it is authenticated.
	Datagram(from Path, b []byte)
	// Control gets control messages in the order in which they came, authenticated and
	// checked against replay.
	Control(a *Association, s *tunnel.Session, from Path, msg []byte)
	// PathSeen says that an authenticated datagram came on a path other than a.Path(). It is
	// called at most once in 50 ms for each association.
	PathSeen(a *Association, s *tunnel.Session, from Path)
}

// Options are the parts of a Plane.
type Options struct {
	// Tun and UDP are the two ends. Run closes them when it returns.
	Tun tun.Device
	UDP udp.Conn
	// Workers is the number of workers in each direction; zero means one for each CPU, and
	// two at least. One worker does everything of its direction by itself.
	Workers int
	// MTU is the overlay's MTU in bytes; zero means that of Tun. Longer packets from the
	// virtual interface are answered with an ICMP error.
	MTU     int
	Handler Handler
	// Registerer takes the metrics; nil keeps them private.
	Registerer prometheus.Registerer
	// Now is the clock; nil means time.Now. Only differences are used.
	Now func() time.Time
	// Log may be nil.
	Log *slog.Logger
}

// Plane is the data plane of one process.
type Plane struct {
	// Constant.
	tun     tun.Device
	udp     udp.Conn
	handler Handler
	workers int
	mtu     int
	now     func() time.Time
	start   time.Time
	log     *slog.Logger
	metrics *metrics
	stride  int    // bytes between outbound buffers
	pause   func() // tests only, else nil: called by a worker before it seals or opens
	out     *lane[outboundBatch]
	in      *lane[inboundBatch]

	stageMu sync.Mutex // outbound staging: the reader and Inject

	tablesMu     sync.RWMutex
	associations map[addressKey]*Association
	receivers    map[uint32]receiver
}

// addressKey is an outbound packet's source and destination.
type addressKey struct{ source, destination netip.Addr }

// receiver is what a receiver index stands for.
type receiver struct {
	session     *tunnel.Session
	association *Association
}

// New returns a Plane; Run makes it work. It fails for options that make no sense and when
// the registry already has a data plane's metrics.
func New(o Options) (*Plane, error) {
	if o.Tun == nil || o.UDP == nil || o.Handler == nil {
		return nil, errors.New("dataplane: Tun, UDP and Handler are needed")
	}
	if o.Workers == 0 {
		o.Workers = max(2, min(MaxWorkers, runtime.GOMAXPROCS(0)))
	}
	if o.Workers < 1 || o.Workers > MaxWorkers {
		return nil, fmt.Errorf("dataplane: %d workers are not between 1 and %d", o.Workers, MaxWorkers)
	}
	if o.MTU == 0 {
		o.MTU = o.Tun.MTU()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	p := &Plane{
		tun: o.Tun, udp: o.UDP, handler: o.Handler, workers: o.Workers, mtu: o.MTU, now: o.Now, start: o.Now(), log: o.Log,
		stride:       slotSize(max(o.MTU, o.Tun.MTU(), minSlotPacket)),
		associations: make(map[addressKey]*Association), receivers: make(map[uint32]receiver),
	}
	batches := 2*o.Workers + spareBatches
	p.out = newLane(batches, p.newOutboundBatch, p.send)
	p.in = newLane(batches, newInboundBatch, p.deliver)
	var err error
	p.metrics, err = newMetrics(o.Registerer, p.out.inWork, p.in.inWork)
	return p, err
}

// Clock is the time since New in nanoseconds, as in Stats. It is at least 1.
func (p *Plane) Clock() int64 { return max(1, p.now().Sub(p.start).Nanoseconds()) }

// Time converts a time of Stats; zero stays the zero time.
func (p *Plane) Time(clock int64) time.Time {
	if clock == 0 {
		return time.Time{}
	}
	return p.start.Add(time.Duration(clock))
}

// Run moves packets until ctx ends or one of the two ends fails. It closes both ends and
// returns when all its goroutines have ended: nil if ctx ended, else the error. A Plane runs
// once.
func (p *Plane) Run(ctx context.Context) error {
	g, running := errgroup.WithContext(ctx)
	for range p.workers {
		g.Go(p.outboundWorker)
		g.Go(p.inboundWorker)
	}
	g.Go(func() error {
		<-running.Done()
		close(p.out.closed)
		close(p.in.closed)
		return errors.Join(p.tun.Close(), p.udp.Close())
	})
	p.log.Info("data plane runs", "workers", p.workers, "mtu", p.mtu, "interface", p.tun.Name(), "port", p.udp.LocalPort())
	err := g.Wait()
	if ctx.Err() != nil && isClosed(err) {
		return nil
	}
	return err
}

// isClosed says whether err is nothing but the end of Run.
func isClosed(err error) bool {
	return err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)
}

// AddAssociation makes outbound packets between a's addresses find it. It fails with
// ErrDuplicate if another association has one of the two address pairs, or with ErrFull.
func (p *Plane) AddAssociation(a *Association) error {
	p.tablesMu.Lock()
	defer p.tablesMu.Unlock()
	keys := a.keys()
	for _, k := range keys {
		if other, ok := p.associations[k]; ok && other != a {
			return fmt.Errorf("%w: %s to %s", ErrDuplicate, k.source, k.destination)
		}
	}
	if len(p.associations)+len(keys) > 2*maxAssociations {
		return fmt.Errorf("%w: %d associations", ErrFull, maxAssociations)
	}
	for _, k := range keys {
		p.associations[k] = a
	}
	return nil
}

// RemoveAssociation undoes AddAssociation. The association's sessions stay until RemoveSession.
func (p *Plane) RemoveAssociation(a *Association) {
	p.tablesMu.Lock()
	defer p.tablesMu.Unlock()
	for _, k := range a.keys() {
		if p.associations[k] == a {
			delete(p.associations, k)
		}
	}
}

func (a *Association) keys() []addressKey {
	var keys []addressKey
	if a.addresses.LocalIPv4.IsValid() && a.addresses.PeerIPv4.IsValid() {
		keys = append(keys, addressKey{a.addresses.LocalIPv4, a.addresses.PeerIPv4})
	}
	if a.addresses.LocalIPv6.IsValid() && a.addresses.PeerIPv6.IsValid() {
		keys = append(keys, addressKey{a.addresses.LocalIPv6, a.addresses.PeerIPv6})
	}
	return keys
}

// AddSession makes Data datagrams with s's local index be opened by s for a. It fails with
// ErrDuplicate if the index is taken, or with ErrFull.
func (p *Plane) AddSession(s *tunnel.Session, a *Association) error {
	p.tablesMu.Lock()
	defer p.tablesMu.Unlock()
	if other, ok := p.receivers[s.LocalIndex()]; ok && other.session != s {
		return fmt.Errorf("%w: receiver index %#x", ErrDuplicate, s.LocalIndex())
	}
	if len(p.receivers) >= maxSessions {
		return fmt.Errorf("%w: %d sessions", ErrFull, maxSessions)
	}
	p.receivers[s.LocalIndex()] = receiver{session: s, association: a}
	return nil
}

// RemoveSession undoes AddSession. Datagrams that are being opened may still come through.
func (p *Plane) RemoveSession(localIndex uint32) {
	p.tablesMu.Lock()
	defer p.tablesMu.Unlock()
	delete(p.receivers, localIndex)
}
