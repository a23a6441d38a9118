// Package login is message 1 of the protocol, device to AS over TLS 1.3: the client, and what client and
// server must agree on (framing, TLS settings, what a proof of a key is over).
//
// It must not decide who may log in (services/as does) and must not keep keys or grants (its callers do).
package login

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// ALPN is the protocol name in TLS (RFC 7301). It keeps a login from being answered by another TLS service
// that has the same certificate, such as the manager.
const ALPN = "cyphonic-login/1"

// ExporterSize is the length in bytes of the exported keying material that proofs are bound to.
const ExporterSize = 32

const (
	exporterLabel = "EXPORTER-cyphonic-login"
	contextLabel  = "cyphonic login v1\x00"
)

// ErrProof says that a LoginRequest is not signed by the keys it names, on the connection it came on.
var ErrProof = errors.New("login: proof of the key does not verify")

// ServerTLS returns the AS's TLS settings: TLS 1.3 only, no resumption, ALPN.
func ServerTLS(certificates ...tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates:           certificates,
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
	}
}

// Exporter returns the connection's exported keying material (RFC 8446, section 7.5): both ends of one TLS
// connection, and nobody else, have the same. The TLS handshake must be complete.
func Exporter(state tls.ConnectionState) ([]byte, error) {
	if !state.HandshakeComplete || state.Version < tls.VersionTLS13 {
		return nil, errors.New("login: TLS 1.3 handshake is not complete")
	}
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, ExporterSize)
	if err != nil {
		return nil, fmt.Errorf("login: export keying material: %w", err)
	}
	return b, nil
}

// Context returns what the proofs of one login are over:
//
//	label "cyphonic login v1", 0 | exporter 32 | kind u8 | name length u8 | name | static key 32 | signing key 32
func Context(exporter []byte, subject wire.Subject, public identity.DevicePublic) []byte {
	b := append([]byte(contextLabel), exporter...)
	b = append(b, byte(subject.Kind), byte(len(subject.Name)))
	b = append(b, subject.Name...)
	b = append(b, public.Static[:]...)
	return append(b, public.Signing[:]...)
}

// VerifyProofs checks the subject's proof and, with a CredentialAdapter, the adapter's. It fails with
// ErrProof. Whether the keys are the right ones for their names is for the caller to decide.
func VerifyProofs(request wire.LoginRequest, exporter []byte) error {
	public := identity.DevicePublic{Static: request.Static, Signing: request.Signing}
	context := Context(exporter, request.Subject, public)
	if !public.Verify(context, request.Proof[:]) {
		return fmt.Errorf("%s %s: %w", request.Subject.Kind, request.Subject.Name, ErrProof)
	}
	if c, ok := request.Credential.(wire.CredentialAdapter); ok {
		adapter := identity.DevicePublic{Signing: c.Signing}
		if !adapter.Verify(context, c.Proof[:]) {
			return fmt.Errorf("adapter %s: %w", c.Adapter, ErrProof)
		}
	}
	return nil
}

// WriteFrame writes length u16 and message in one Write.
func WriteFrame(w io.Writer, message []byte) error {
	if len(message) == 0 || len(message) > wire.MaxLoginMessage {
		return fmt.Errorf("login: frame of %d bytes: %w", len(message), wire.ErrLength)
	}
	frame := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(message)), uint16(len(message)))
	if _, err := w.Write(append(frame, message...)); err != nil {
		return fmt.Errorf("login: write frame: %w", err)
	}
	return nil
}

// ReadFrame reads what WriteFrame writes. At the end of the stream between frames it fails with io.EOF.
func ReadFrame(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("login: read frame: %w", err)
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n == 0 || n > wire.MaxLoginMessage {
		return nil, fmt.Errorf("login: frame of %d bytes: %w", n, wire.ErrLength)
	}
	message := make([]byte, n)
	if _, err := io.ReadFull(r, message); err != nil {
		return nil, fmt.Errorf("login: read frame: %w", io.ErrUnexpectedEOF)
	}
	return message, nil
}
