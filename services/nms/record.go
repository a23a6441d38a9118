package nms

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/replica"
)

// record is a location as one replica tells it to another:
//
//	UID, acting replica: text; epoch u64
//	network, FQDN, adapter: text; virtual IPv4, IPv6: family u8 and bytes
//	NodeID 32, assurance u8, certificate: length u16 and bytes
//	observed address with port, NATed u8, candidates: count u8 and addresses with port
//	gateway: text; tag u32, echo u64, policy u64, session key 32, last seen: age u32
//	end of the ticket u64, counter u64      of the latest datagram
//	logins: count u8, and each NodeID 32, session key 32, end u64, top counter u64, window 32
//	end of the ticket u64, counter u64      of the registration; missing: of the latest datagram
//
// It goes only over links between replicas that have pinned one another.
type record struct {
	uid, acting string
	epoch       uint64
	contact     contact
	logins      []*login
}

func (c *Core) recordOf(uid string, l *location) []byte {
	return appendRecord(nil, c.now, record{uid: uid, acting: l.acting, epoch: l.epoch, contact: l.contact, logins: l.logins})
}

func appendRecord(b []byte, now time.Time, r record) []byte {
	b = appendText(appendText(b, r.uid), r.acting)
	b = binary.BigEndian.AppendUint64(b, r.epoch)
	b = appendContact(b, now, &r.contact)
	b = append(b, byte(len(r.logins)))
	for _, l := range r.logins {
		b = append(append(b, l.nodeID[:]...), l.sessionKey[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(l.notAfter.Unix()))
		b = binary.BigEndian.AppendUint64(b, l.window.top)
		for _, w := range l.window.bits {
			b = binary.BigEndian.AppendUint64(b, w)
		}
	}
	return appendStamp(b, r.contact.made)
}

func appendContact(b []byte, now time.Time, c *contact) []byte {
	s := c.subject
	b = appendText(appendText(appendText(b, s.Network), s.FQDN), s.Adapter)
	b = appendAddr(appendAddr(b, s.IPv4), s.IPv6)
	b = append(append(b, c.nodeID[:]...), byte(c.assurance))
	b = appendAddrPort(appendBytes(b, c.certificate), c.addr)
	b = append(appendBool(b, c.nated), byte(len(c.candidates)))
	for _, a := range c.candidates {
		b = appendAddrPort(b, a)
	}
	b = binary.BigEndian.AppendUint32(appendText(b, c.gateway), c.tag)
	b = binary.BigEndian.AppendUint64(b, c.echo)
	b = binary.BigEndian.AppendUint64(b, c.policy)
	b = appendAge(append(b, c.sessionKey[:]...), now, c.lastSeen)
	return appendStamp(b, c.stamp)
}

func appendStamp(b []byte, s stamp) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.notAfter))
	return binary.BigEndian.AppendUint64(b, s.counter)
}

// parseRecord decodes a record. Nothing in it refers to b.
func parseRecord(b []byte, now time.Time) (record, error) {
	f := fields{b: b}
	r := record{uid: f.text(), acting: f.text(), epoch: f.u64()}
	r.contact = parseContact(&f, now)
	n := int(f.u8())
	if n > maxLogins {
		return record{}, errLink
	}
	for range n {
		l := &login{}
		f.copyTo(l.nodeID[:])
		f.copyTo(l.sessionKey[:])
		l.notAfter = time.Unix(int64(f.u64()), 0)
		l.name = loginName(l.sessionKey)
		l.window.used, l.window.top = true, f.u64()
		for i := range l.window.bits {
			l.window.bits[i] = f.u64()
		}
		r.logins = append(r.logins, l)
	}
	if r.contact.made = r.contact.stamp; len(f.b) > 0 {
		r.contact.made = stamp{int64(f.u64()), f.u64()}
	}
	if f.bad || r.uid == "" || n == 0 {
		return record{}, errLink
	}
	return r, nil
}

func parseContact(f *fields, now time.Time) contact {
	s := &replica.Subject{Network: f.text(), FQDN: f.text(), Adapter: f.text(), IPv4: f.addr(), IPv6: f.addr()}
	c := contact{subject: s}
	f.copyTo(c.nodeID[:])
	c.assurance = identity.Assurance(f.u8())
	c.certificate = slices.Clone(f.bytes())
	c.addr, c.nated = f.addrPort(), f.boolean()
	n := int(f.u8())
	if n > wire.MaxCandidates || len(c.certificate) > wire.MaxCertificate {
		f.bad = true
		return contact{}
	}
	for range n {
		a := f.addrPort()
		if !a.IsValid() {
			f.bad = true
		}
		c.candidates = append(c.candidates, a)
	}
	c.gateway, c.tag, c.echo, c.policy = f.text(), f.u32(), f.u64(), f.u64()
	f.copyTo(c.sessionKey[:])
	c.lastSeen = f.age(now)
	c.stamp = stamp{int64(f.u64()), f.u64()}
	return c
}

// known puts the subject of the desired state in place of an equal one, which
// many records would otherwise hold again.
func (c *Core) known(uid string, x *contact) {
	if s := c.snapshot().SubjectByUID(uid); s != nil && s.Network == x.subject.Network && s.FQDN == x.subject.FQDN &&
		s.Adapter == x.subject.Adapter && s.IPv4 == x.subject.IPv4 && s.IPv6 == x.subject.IPv6 {
		x.subject = s
	}
}

// mark is what most datagrams change about a location.
type mark struct {
	uid, gateway          string
	login                 [8]byte // the beginning of the SHA-256 of the session key
	counter, echo, policy uint64
	lastSeen              time.Time
}

func loginName(sessionKey [32]byte) [8]byte {
	sum := sha256.Sum256(sessionKey[:])
	return [8]byte(sum[:8])
}

func appendMark(b []byte, now time.Time, m mark) []byte {
	start := len(b)
	b = append(appendText(begin(b, linkMark), m.uid), m.login[:]...)
	b = binary.BigEndian.AppendUint64(b, m.counter)
	b = binary.BigEndian.AppendUint64(b, m.echo)
	b = binary.BigEndian.AppendUint64(b, m.policy)
	return end(appendText(appendAge(b, now, m.lastSeen), m.gateway), start)
}

func parseMark(b []byte, now time.Time) (mark, error) {
	f := fields{b: b}
	m := mark{uid: f.text()}
	f.copyTo(m.login[:])
	m.counter, m.echo, m.policy = f.u64(), f.u64(), f.u64()
	m.lastSeen, m.gateway = f.age(now), f.text()
	if f.bad || m.uid == "" {
		return mark{}, errLink
	}
	return m, nil
}
