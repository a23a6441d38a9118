package identity

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cyphonic/cyphonic/internal/wire"
)

// SignalKeys protects the signalling datagrams between one node and the NMS: HKDF-SHA256 of the session key,
// one key for each direction. They say nothing about the keys between two nodes.
type SignalKeys struct {
	toService cipher.AEAD // ChaCha20-Poly1305, nonce from the node's counter
	toNode    cipher.AEAD // XChaCha20-Poly1305, nonce from the replica's boot id and counter
}

// NewSignalKeys derives both keys.
func NewSignalKeys(sessionKey [32]byte) SignalKeys {
	toService, err := chacha20poly1305.New(derive(sessionKey, "cyphonic signal node to service v1"))
	if err != nil {
		panic("identity: key size: " + err.Error()) // derive returns 32 bytes
	}
	toNode, err := chacha20poly1305.NewX(derive(sessionKey, "cyphonic signal service to node v1"))
	if err != nil {
		panic("identity: key size: " + err.Error())
	}
	return SignalKeys{toService: toService, toNode: toNode}
}

func derive(secret [32]byte, info string) []byte {
	key, err := hkdf.Key(sha256.New, secret[:], nil, info, chacha20poly1305.KeySize)
	if err != nil {
		panic("identity: HKDF: " + err.Error()) // only for more than 255 hash lengths
	}
	return key
}

// SealSignal appends a complete Signal datagram to dst. A counter must never be used twice with the same
// session key: the node starts at a value above all earlier ones, and a new ticket has a new key.
func (k SignalKeys) SealSignal(dst []byte, tag uint32, counter uint64, cookie [16]byte, ticket, body []byte) []byte {
	header := len(dst)
	dst = wire.Signal{ReceiverTag: tag, Counter: counter, Cookie: cookie, Ticket: ticket}.AppendHeader(dst)
	nonce := counterNonce(counter)
	return k.toService.Seal(dst, nonce[:], body, dst[header:])
}

// OpenSignal returns the body of a Signal. It fails with a wire error or ErrSeal.
func (k SignalKeys) OpenSignal(datagram []byte) ([]byte, error) {
	m, err := wire.ParseSignal(datagram)
	if err != nil {
		return nil, err
	}
	nonce := counterNonce(m.Counter)
	body, err := k.toService.Open(nil, nonce[:], m.Ciphertext, datagram[:m.HeaderSize()])
	if err != nil {
		return nil, ErrSeal
	}
	return body, nil
}

// SealReply appends a complete SignalReply datagram to dst. A nonce must never be used twice with the same
// session key: a replica's boot id is random and its counter grows.
func (k SignalKeys) SealReply(dst []byte, tag uint32, nonce [24]byte, body []byte) []byte {
	header := len(dst)
	dst = wire.SignalReply{ReceiverTag: tag, Nonce: nonce}.AppendHeader(dst)
	return k.toNode.Seal(dst, nonce[:], body, dst[header:header+wire.SignalReplyHeaderSize])
}

// OpenReply returns nonce and body of a SignalReply. It fails with a wire error or ErrSeal.
func (k SignalKeys) OpenReply(datagram []byte) (nonce [24]byte, body []byte, err error) {
	m, err := wire.ParseSignalReply(datagram)
	if err != nil {
		return nonce, nil, err
	}
	body, err = k.toNode.Open(nil, m.Nonce[:], m.Ciphertext, datagram[:wire.SignalReplyHeaderSize])
	if err != nil {
		return nonce, nil, ErrSeal
	}
	return m.Nonce, body, nil
}

func counterNonce(counter uint64) (nonce [chacha20poly1305.NonceSize]byte) {
	binary.BigEndian.PutUint64(nonce[4:], counter)
	return nonce
}
