package repository

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// conversation is what is said to a server: first it lists its references,
// then it may be asked for one pack.
type conversation interface {
	AdvertisedReferencesContext(ctx context.Context) (*packp.AdvRefs, error)
	UploadPack(ctx context.Context, r *packp.UploadPackRequest) (*packp.UploadPackResponse, error)
	Close() error
}

// Session is an open conversation with a git server. It is used by one
// goroutine and must be closed.
type Session struct {
	source  Source
	server  conversation
	limits  bounds
	budget  *budget
	secrets []string // not to be repeated in errors
	able    *capability.List
	head    plumbing.Hash
}

// Open asks the server which commit the branch points to. The credentials are
// read anew. ctx bounds the whole session. The error is a *Fault.
func Open(ctx context.Context, source Source) (*Session, error) {
	return open(ctx, source, standardBounds())
}

func open(ctx context.Context, source Source, limits bounds) (*Session, error) {
	u, err := parseURL(source.URL)
	if err != nil {
		return nil, err
	}
	if _, err := source.folders(); err != nil {
		return nil, err
	}
	secret, err := readSecret(source.SecretsDirectory, source.SecretName)
	if err != nil {
		return nil, err
	}
	s := &Session{source: source, limits: limits, budget: &budget{left: limits.received}, secrets: secret.forms()}
	if u.Scheme == "ssh" {
		s.server, err = dialSSH(ctx, u, source, secret, s.budget)
	} else if err = secret.checkHost(source.SecretName, u); err == nil {
		s.server, err = newHTTP(u, secret, s.budget)
	}
	if err != nil {
		return nil, s.fault("connect", err)
	}
	if err := s.advertise(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Session) advertise(ctx context.Context) error {
	offered, err := s.server.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return faultf(ReasonNotFound, "the repository is empty")
	}
	if err != nil {
		return s.fault("ask for the branches", err)
	}
	head, ok := offered.References[plumbing.NewBranchReferenceName(s.source.Branch).String()]
	if !ok {
		return faultf(ReasonNotFound, "the repository has no branch %q", clean(s.source.Branch))
	}
	s.head, s.able = head, offered.Capabilities
	return nil
}

// Head is the commit that the branch points to, in hexadecimal.
func (s *Session) Head() string { return s.head.String() }

// Read fetches one commit, without its history, and returns the manifests
// below the path of the source. Servers give out the head of a branch always,
// an older commit perhaps. It may be called once; the error is a *Fault.
func (s *Session) Read(ctx context.Context, commit string) (tree *Tree, err error) {
	defer func() {
		// The decoders of foreign data must not end the program.
		if r := recover(); r != nil {
			tree, err = nil, faultf(ReasonHostile, "the repository cannot be decoded: %s", clean(fmt.Sprint(r)))
		}
	}()
	want := plumbing.NewHash(commit)
	if want.IsZero() || want.String() != commit {
		return nil, faultf(ReasonNotFound, "%q is not a commit", clean(commit))
	}
	request, err := s.request(want)
	if err != nil {
		return nil, s.fault("ask for the commit", err)
	}
	response, err := s.server.UploadPack(ctx, request)
	if err != nil {
		return nil, s.fault("ask for the commit", err)
	}
	defer response.Close()
	pack, err := io.ReadAll(response)
	if err != nil {
		return nil, s.fault("receive the commit", err)
	}
	objects, err := unpack(pack, s.limits)
	if err != nil {
		return nil, err
	}
	folders, err := s.source.folders()
	if err != nil {
		return nil, err
	}
	return readTree(objects, want, folders, s.limits)
}

// request asks for one commit without parents, in a pack that stands alone
// and comes without progress messages.
func (s *Session) request(want plumbing.Hash) (*packp.UploadPackRequest, error) {
	r := packp.NewUploadPackRequest()
	r.Wants = []plumbing.Hash{want}
	var faults []error
	if s.able.Supports(capability.OFSDelta) {
		faults = append(faults, r.Capabilities.Set(capability.OFSDelta))
	}
	if s.able.Supports(capability.Shallow) {
		r.Depth = packp.DepthCommits(1)
		faults = append(faults, r.Capabilities.Set(capability.Shallow))
	}
	return r, errors.Join(faults...)
}

// Close ends the conversation.
func (s *Session) Close() { _ = s.server.Close() } // all that was wanted has been received

// fault classifies what went wrong on the way.
func (s *Session) fault(doing string, err error) error {
	if s.budget.cause != nil {
		err = s.budget.cause // the libraries on the way hide it
	}
	var known *Fault
	if errors.As(err, &known) {
		return known
	}
	text := clean(strings.TrimPrefix(err.Error(), "unexpected client error: "), s.secrets...)
	reason := ReasonUnreachable
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		strings.Contains(text, "unable to authenticate"):
		reason, text = ReasonCredentials, "the server refuses the credentials: "+text
	case errors.Is(err, transport.ErrRepositoryNotFound), strings.Contains(text, "not our ref"), strings.Contains(text, "does not appear to be a git repository"):
		reason = ReasonNotFound
	case errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		reason = ReasonCertificate
	case errors.Is(err, context.DeadlineExceeded):
		text = "the server does not answer in time"
	}
	return faultf(reason, "%s: %s", doing, text)
}
