package rest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/cyphonic/cyphonic/api"
	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/keyspace"
	"github.com/cyphonic/cyphonic/manager/store"
)

// ErrAdminTokenHash says that the hash of the administrator's token is not one
// that may be used.
var ErrAdminTokenHash = errors.New("unusable admin token hash (make one with `cyphonicctl init`)")

// CheckAdminTokenHash refuses a hash that is empty, malformed, constant, or
// that of a word that stands in examples.
func CheckAdminTokenHash(hash string) error {
	raw, err := hex.DecodeString(hash)
	switch {
	case hash == "":
		return fmt.Errorf("%w: it is empty", ErrAdminTokenHash)
	case err != nil || len(raw) != sha256.Size || strings.ToLower(hash) != hash:
		return fmt.Errorf("%w: it is not 64 lower-case hex digits", ErrAdminTokenHash)
	case strings.Count(hash, hash[:1]) == len(hash):
		return fmt.Errorf("%w: it is a placeholder", ErrAdminTokenHash)
	}
	for _, word := range []string{
		"", "admin", "administrator", "changeme", "change-me", "cyphonic", "default", "demo", "example", "password",
		"root", "sample", "secret", "test", "token", identity.AdminTokenPrefix,
	} {
		if subtle.ConstantTimeCompare([]byte(identity.HashOpaqueToken(word)), []byte(hash)) == 1 ||
			subtle.ConstantTimeCompare([]byte(identity.HashOpaqueToken(word+"\n")), []byte(hash)) == 1 {
			return fmt.Errorf("%w: it is that of the sample token %q", ErrAdminTokenHash, word)
		}
	}
	return nil
}

// principal is who makes a request.
type principal struct {
	admin    bool
	adapter  string    // name of the adapter, if it is one
	uid      string    // of the adapter: a re-created one is another
	notAfter time.Time // of its token
}

// String names the principal for logs.
func (p principal) String() string {
	switch {
	case p.admin:
		return "admin"
	case p.adapter != "":
		return "adapter/" + p.adapter
	default:
		return "none"
	}
}

type principalKey struct{}

func principalOf(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// access is who may use a path. What is not listed is for administrators.
type access uint8

const (
	forAdmin   access = iota
	forAdapter        // the adapter that the parameter name names, too
	forAll
)

func accessOf(path string) access {
	switch path {
	case "/livez", "/readyz", "/openapi.json":
		return forAll
	case "/api/v1/adapters/:name/generalnodes", "/api/v1/adapters/:name/generalnodes/:generalNode/status":
		return forAdapter
	default:
		return forAdmin
	}
}

// authorise lets a request pass if its bearer token permits it.
func (s *Server) authorise(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		allowed := accessOf(c.Path())
		if allowed == forAll {
			return next(c)
		}
		who, err := s.authenticate(c.Request())
		if err != nil {
			return err
		}
		ctx := context.WithValue(c.Request().Context(), principalKey{}, who)
		c.SetRequest(c.Request().WithContext(ctx))
		if who.admin {
			return next(c)
		}
		if allowed != forAdapter || c.Param("name") != who.adapter {
			s.metrics.denied.WithLabelValues("forbidden").Inc()
			return refuse(http.StatusForbidden, typeBlank, "the token of adapter %s is good for /api/v1/adapters/%s/generalnodes only", who.adapter, who.adapter)
		}
		if err := s.checkAdapter(ctx, who); err != nil {
			return err
		}
		return next(c)
	}
}

// authenticate finds out whose token a request has.
func (s *Server) authenticate(r *http.Request) (principal, error) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		s.metrics.denied.WithLabelValues("missing").Inc()
		return principal{}, refuse(http.StatusUnauthorized, typeBlank, "a token is missing: send Authorization: Bearer <token>; `cyphonicctl init` made one")
	}
	if !strings.HasPrefix(token, identity.AccessTokenPrefix) {
		hash := identity.HashOpaqueToken(token)
		if subtle.ConstantTimeCompare([]byte(hash), s.admin) == 1 {
			return principal{admin: true}, nil
		}
		s.metrics.denied.WithLabelValues("wrong").Inc()
		return principal{}, refuse(http.StatusUnauthorized, typeBlank, "the token is not the administrator's; use the one that `cyphonicctl init` wrote")
	}
	ring, err := s.access.ring(r.Context())
	if err != nil {
		return principal{}, err
	}
	claims, err := identity.OpenAccessToken(ring, token, s.now())
	if err != nil || claims.Kind != "Adapter" || claims.Name == "" {
		s.metrics.denied.WithLabelValues("wrong").Inc()
		return principal{}, refuse(http.StatusUnauthorized, typeBlank, "the access token is not valid or has expired; log in to the AS again for a new one")
	}
	return principal{adapter: claims.Name, uid: claims.UID, notAfter: claims.NotAfter}, nil
}

// checkAdapter refuses adapters that no longer exist or are disabled. It is
// asked again while a watch lasts.
func (s *Server) checkAdapter(ctx context.Context, who principal) error {
	if who.admin {
		return nil
	}
	if s.now().After(who.notAfter) {
		return refuse(http.StatusUnauthorized, typeBlank, "the access token has expired; log in to the AS again for a new one")
	}
	entry, err := s.store.Get(ctx, keyspace.Resource(keyspace.Adapters, who.adapter))
	if errors.Is(err, store.ErrNotFound) {
		s.metrics.denied.WithLabelValues("gone").Inc()
		return refuse(http.StatusForbidden, typeBlank, "adapter %s does not exist any more", who.adapter)
	}
	if err != nil {
		return err
	}
	var adapter api.Adapter
	if err := json.Unmarshal(entry.Value, &adapter); err != nil {
		return fmt.Errorf("decode %s: %w", entry.Key, err)
	}
	if adapter.Metadata.Uid != who.uid {
		s.metrics.denied.WithLabelValues("gone").Inc()
		return refuse(http.StatusForbidden, typeBlank, "adapter %s was deleted and created again; enrol it with a new token", who.adapter)
	}
	if adapter.Spec.Disabled {
		s.metrics.denied.WithLabelValues("disabled").Inc()
		return refuse(http.StatusForbidden, typeBlank, "adapter %s is disabled", who.adapter)
	}
	return nil
}

// accessKeys holds the keys that open access tokens.
type accessKeys struct {
	store store.Store
	now   func() time.Time

	mu     sync.Mutex
	keys   identity.Keyring // under mu
	readAt time.Time        // under mu
}

// ring returns the keys, read from the store if the last time is too long ago.
func (k *accessKeys) ring(ctx context.Context) (identity.Keyring, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if age := now.Sub(k.readAt); !k.readAt.IsZero() && age >= 0 && age < keyringAge {
		return k.keys, nil
	}
	l, err := k.store.List(ctx, keyspace.KeyPrefix(keyspace.PurposeAccess), store.ListOptions{})
	if err != nil {
		return identity.Keyring{}, fmt.Errorf("read the access keys: %w", err)
	}
	var records []keyspace.KeyRecord
	for _, e := range l.Entries {
		r, err := keyspace.Decode[keyspace.KeyRecord](e.Value)
		if err != nil {
			return identity.Keyring{}, fmt.Errorf("%s: %w", e.Key, err)
		}
		records = append(records, r)
	}
	if len(records) == 0 {
		return identity.Keyring{}, fmt.Errorf("read the access keys: there are none: %w", store.ErrUnavailable)
	}
	var ring identity.Keyring
	for i, r := range keyspace.Order(records, now) {
		key := identity.SealingKey{ID: r.ID, Key: [32]byte(r.Secret)}
		if i == 0 {
			ring.Current = key
		} else {
			ring.Previous = append(ring.Previous, key)
		}
	}
	k.keys, k.readAt = ring, now
	return ring, nil
}
