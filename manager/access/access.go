package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cyphonic/cyphonic/manager/cache"
	"github.com/cyphonic/cyphonic/manager/store"
)

// Resources is what the package reads of manager/cache.
type Resources interface {
	View(plural string) cache.View
	Fresh(ctx context.Context) error
	Ready() <-chan struct{}
}

// Options is what an Access needs; only OIDC may be nil.
type Options struct {
	Cache Resources
	Store store.Store // for the keys that open access tokens
	// AdminTokenHash is the lower-case hex SHA-256 of the administrator's token; see CheckAdminTokenHash.
	AdminTokenHash string
	OIDC           *OIDC
	Log            *slog.Logger
	Registerer     prometheus.Registerer
	Now            func() time.Time
}

// Access authenticates and decides. It is safe for concurrent use.
type Access struct {
	cache    Resources
	admin    []byte // hash of the administrator's token
	adapters *adapterTokens
	users    *idTokens // nil: there is no OpenID provider
	failures *failures
	refusals *prometheus.CounterVec
	log      *slog.Logger
	now      func() time.Time

	compiled  atomic.Pointer[table]
	compiling sync.Mutex // held while a table is compiled
}

// New returns an Access. It asks nobody: neither the store nor the OpenID provider has to answer yet.
func New(o Options) (*Access, error) {
	if err := CheckAdminTokenHash(o.AdminTokenHash); err != nil {
		return nil, err
	}
	if o.Cache == nil || o.Store == nil || o.Log == nil || o.Registerer == nil || o.Now == nil {
		return nil, errors.New("access: Cache, Store, Log, Registerer and Now are required")
	}
	a := &Access{
		cache: o.Cache, admin: []byte(o.AdminTokenHash), log: o.Log, now: o.Now,
		adapters: &adapterTokens{store: o.Store, now: o.Now},
		failures: &failures{sources: map[netip.Prefix]failing{}},
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cyphonic_manager_authentication_failures_total",
			Help: "Requests whose credential was refused, by reason: missing, several, wrong, limited (too many failures of the source) or unavailable (who has to be asked does not answer).",
		}, []string{"reason"}),
	}
	if err := o.Registerer.Register(a.refusals); err != nil {
		return nil, fmt.Errorf("register the metrics of access: %w", err)
	}
	if o.OIDC != nil {
		if o.OIDC.Issuer == "" || o.OIDC.ClientID == "" {
			return nil, errors.New("access: an OpenID provider needs issuer and client identifier")
		}
		a.users = &idTokens{config: *o.OIDC, provider: newProvider(*o.OIDC, o.Log, o.Now), now: o.Now}
	}
	return a, nil
}

// Fresh waits until the cache, and with it every decision, shows what was in the store when it was called. A right that is missing is
// worth asking again for after Fresh: another manager may have given it a moment ago.
func (a *Access) Fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	return a.cache.Fresh(ctx)
}
