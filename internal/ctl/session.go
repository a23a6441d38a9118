package ctl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// oidcSession is what `cyphonicctl login` leaves in the configuration file: where to log in, and the tokens while somebody is logged in.
type oidcSession struct {
	Issuer       string    `json:"issuer"`                 // URL of the OpenID provider
	ClientID     string    `json:"clientID"`               // of cyphonicctl at the provider; the managers know it too
	ClientSecret string    `json:"clientSecret,omitempty"` // where the provider gave one to this public client
	Scopes       []string  `json:"scopes,omitempty"`       // besides openid
	CAFile       string    `json:"caFile,omitempty"`       // PEM certificates that the provider's must descend from; none: those of the system
	IDToken      string    `json:"idToken,omitempty"`      // the bearer token for the managers
	Expiration   time.Time `json:"expiration,omitzero"`    // of the ID token
	RefreshToken string    `json:"refreshToken,omitempty"`
}

func (o *oidcSession) loggedIn() bool { return o != nil && o.IDToken != "" }

// fresh tells whether the ID token is good for the next request.
func (o *oidcSession) fresh(now time.Time) bool {
	return o.loggedIn() && now.Add(refreshBefore).Before(o.Expiration)
}

// session gives the ID token to requests and refreshes it, in the configuration file too.
type session struct {
	c       *command
	context loadedContext

	mu      sync.Mutex
	current oidcSession
}

func (c *command) newSession(l loadedContext) *session {
	return &session{c: c, context: l, current: *l.OIDC}
}

// token is a client.TokenSource.
func (s *session) token(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current.fresh(s.c.Now()) {
		return s.current.IDToken, nil
	}
	err := changeConfiguration(s.context.path, func(config *configuration) error {
		saved, ok := config.context(s.context.Name)
		if !ok || !saved.OIDC.loggedIn() {
			return s.ended(errors.New("logged out"))
		}
		if !saved.OIDC.fresh(s.c.Now()) { // else another cyphonicctl has refreshed it
			if err := s.refresh(ctx, saved.OIDC); err != nil {
				return err
			}
		}
		s.current = *saved.OIDC
		return nil
	})
	if err != nil {
		return "", err
	}
	return s.current.IDToken, nil
}

func (s *session) refresh(ctx context.Context, saved *oidcSession) error {
	if saved.RefreshToken == "" {
		return s.ended(errors.New("the provider gave no refresh token: ask for the scope offline_access"))
	}
	ctx, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	p, err := findProvider(ctx, s.context, saved)
	if err != nil {
		return err
	}
	token, err := p.config.TokenSource(p.context(ctx), &oauth2.Token{RefreshToken: saved.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return s.ended(fmt.Errorf("the provider refuses to go on: %s", refused.ErrorCode))
	}
	if err != nil {
		return fmt.Errorf("refresh the login at %s: %w", saved.Issuer, err)
	}
	return p.take(ctx, token, "", saved)
}

func (s *session) ended(err error) error {
	return &deniedError{fmt.Errorf("the login of context %s has ended: %w: run `cyphonicctl login`", s.context.Name, err)}
}

// provider is an OpenID provider as this client sees it.
type provider struct {
	found  *oidc.Provider
	config oauth2.Config
	client *http.Client
}

// findProvider asks the provider what it offers (OpenID Connect Discovery 1.0).
func findProvider(ctx context.Context, l loadedContext, o *oidcSession) (*provider, error) {
	if issuer, err := url.Parse(o.Issuer); err != nil || issuer.Scheme != "https" || issuer.Host == "" {
		return nil, &usageError{fmt.Errorf("the issuer %q is not of the form https://host", o.Issuer)}
	}
	p := &provider{client: &http.Client{Timeout: providerTime}}
	if o.CAFile != "" {
		certificates, err := os.ReadFile(l.resolve(o.CAFile))
		if err != nil {
			return nil, &usageError{err}
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(certificates) {
			return nil, &usageError{fmt.Errorf("%s has no certificate", l.resolve(o.CAFile))}
		}
		p.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	}
	found, err := oidc.NewProvider(p.context(ctx), o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("the OpenID provider %s: %w", o.Issuer, err)
	}
	p.found = found
	p.config = oauth2.Config{ClientID: o.ClientID, ClientSecret: o.ClientSecret, Endpoint: found.Endpoint(), Scopes: o.allScopes()}
	return p, nil
}

func (o *oidcSession) allScopes() []string {
	scopes := []string{oidc.ScopeOpenID}
	for _, scope := range o.Scopes {
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// context carries the HTTP client to the libraries.
func (p *provider) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// take verifies what the provider answered and keeps it in the session. The nonce is that of the request, "" where there was none.
func (p *provider) take(ctx context.Context, token *oauth2.Token, nonce string, into *oidcSession) error {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return errors.New("the provider answered without an ID token: the scope openid must be allowed to the client")
	}
	verified, err := p.found.VerifierContext(p.context(ctx), &oidc.Config{ClientID: into.ClientID}).Verify(p.context(ctx), raw)
	if err != nil {
		return fmt.Errorf("the ID token of the provider: %w", err)
	}
	if nonce != "" && verified.Nonce != nonce {
		return errors.New("the ID token of the provider is for another login (nonce)")
	}
	into.IDToken, into.Expiration = raw, verified.Expiry.UTC()
	if token.RefreshToken != "" {
		into.RefreshToken = token.RefreshToken
	}
	return nil
}
