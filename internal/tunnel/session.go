package tunnel

import (
	"crypto/cipher"
	"sync"
	"sync/atomic"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
)

// Session is one key epoch of a tunnel. All methods are safe for concurrent use.
type Session struct {
	// Constant.
	localIndex, remoteIndex uint32
	peer                    *identity.Certificate
	initiator               bool
	cipher                  Cipher

	// Atomic.
	aeads atomic.Pointer[aeads] // nil: erased
	next  atomic.Uint64         // the next send counter

	// Under mu.
	mu     sync.Mutex
	replay replayFilter
}

type aeads struct{ send, receive cipher.AEAD }

func newSession(local, remote uint32, peer *identity.Certificate, initiator bool, c Cipher, send, receive cipher.AEAD) *Session {
	s := &Session{localIndex: local, remoteIndex: remote, peer: peer, initiator: initiator, cipher: c}
	s.aeads.Store(&aeads{send: send, receive: receive})
	return s
}

// LocalIndex returns the index that received datagrams carry.
func (s *Session) LocalIndex() uint32 { return s.localIndex }

// RemoteIndex returns the index that sent datagrams carry.
func (s *Session) RemoteIndex() uint32 { return s.remoteIndex }

// Peer returns the peer's certificate, as verified in the handshake.
func (s *Session) Peer() *identity.Certificate { return s.peer }

// Initiator reports whether this side began the handshake; it is the one that rekeys.
func (s *Session) Initiator() bool { return s.initiator }

// Cipher returns the AEAD in use.
func (s *Session) Cipher() Cipher { return s.cipher }

// Sent returns how many send counters have been reserved, to be held against RekeyAfterMessages.
func (s *Session) Sent() uint64 { return s.next.Load() }

// Reserve takes n consecutive send counters and returns the first. It fails when they would reach
// RejectAfterMessages, for n < 1, and when the session is erased.
func (s *Session) Reserve(n int) (first uint64, ok bool) {
	if n < 1 || s.aeads.Load() == nil {
		return 0, false
	}
	for {
		first = s.next.Load()
		if uint64(n) > RejectAfterMessages-first {
			return 0, false
		}
		if s.next.CompareAndSwap(first, first+uint64(n)) {
			return first, true
		}
	}
}

// Seal appends a Data datagram to dst: header, ciphertext, tag; wire.DataOverhead bytes more than plaintext. The
// counter must come from Reserve and be used once. Plaintext may lie in place, at dst's end plus
// wire.DataHeaderSize in the same array, and must not overlap otherwise. With room in dst nothing is
// allocated. If the session has been erased meanwhile, dst is returned without change.
func (s *Session) Seal(dst []byte, flags uint8, counter uint64, plaintext []byte) []byte {
	keys := s.aeads.Load()
	if keys == nil {
		return dst
	}
	start := len(dst)
	dst = wire.AppendDataHeader(dst, flags, s.remoteIndex, counter)
	header := dst[start:]
	// The nonce is the header's index and counter: taken from the datagram, it costs no allocation.
	return keys.send.Seal(dst, header[4:wire.DataHeaderSize], plaintext, header)
}

// Open checks a Data datagram and appends its plaintext to dst. In place, dst is
// datagram[wire.DataHeaderSize:wire.DataHeaderSize]; the ciphertext is then lost even on failure. It does not touch
// the replay window: ask Accept next, with the header's counter. It fails with a wire error, ErrHandshake,
// ErrIndex, ErrCounter, ErrErased or ErrAuth.
func (s *Session) Open(dst, datagram []byte) ([]byte, error) {
	header, err := wire.ParseDataHeader(datagram)
	switch {
	case err != nil:
		return nil, err
	case header.Flags&wire.FlagHandshake != 0:
		return nil, ErrHandshake
	case header.ReceiverIndex != s.localIndex:
		return nil, ErrIndex
	case header.Counter >= RejectAfterMessages:
		return nil, ErrCounter
	}
	keys := s.aeads.Load()
	if keys == nil {
		return nil, ErrErased
	}
	additional := datagram[:wire.DataHeaderSize]
	plaintext, err := keys.receive.Open(dst, additional[4:], datagram[wire.DataHeaderSize:], additional)
	if err != nil {
		return nil, ErrAuth
	}
	return plaintext, nil
}

// Accept reports whether an opened datagram's counter is new, and marks it as seen. Call it only after Open.
func (s *Session) Accept(counter uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replay.accept(counter)
}

// Erase ends the session and drops its keys: Reserve, Seal and Open fail from now on. The expanded keys are
// inside the standard library's AEADs, which cannot be zeroed; they become garbage when the calls that are
// under way return. The raw keys were zeroed when the AEADs were made.
func (s *Session) Erase() { s.aeads.Store(nil) }
