package wire

import (
	"encoding/binary"
	"net/netip"
	"strconv"
)

// LoginCode is the outcome of a login.
type LoginCode uint8

// The codes of a LoginResponse.
const (
	LoginOK      LoginCode = 0
	LoginDenied  LoginCode = 1 // the credential is wrong, used or not meant for this subject
	LoginUnknown LoginCode = 2 // there is no such subject, or it is disabled
	LoginRetry   LoginCode = 3 // the service cannot tell now, or too many attempts: try later
	LoginInvalid LoginCode = 4 // the request is malformed, or its key or proof does not fit
)

// String returns the word used in logs and metric labels.
func (c LoginCode) String() string {
	switch c {
	case LoginOK:
		return "ok"
	case LoginDenied:
		return "denied"
	case LoginUnknown:
		return "unknown"
	case LoginRetry:
		return "retry"
	case LoginInvalid:
		return "invalid"
	}
	return "code_" + strconv.Itoa(int(c))
}

// LoginResponse answers a LoginRequest. AS to device, over TLS. Fields that do not apply are empty:
// a refusal has Code and Message only, an adapter gets no certificate, ticket or virtual IP.
//
//	0  type 0x31 | version 1, flags 0
//	2  code u8, 0 to 4
//	3  message length u16, at most 512; message     for people: what to do next
//	   certificate length u16, at most 512; certificate
//	   issuers: count u8, at most 8; each length u16, at most 256; issuer certificate
//	   ticket length u16, at most 512; ticket
//	   session key 32
//	   not after u64, server time u64                seconds since 1970-01-01 UTC
//	   NMS IPv4 address with port or 0, NMS IPv6 address with port or 0
//	   FQDN, domain, network                         each length u8, at most 253
//	   virtual IPv4 or 0, virtual IPv6 or 0
//	   IPv4 prefix or 0, IPv6 prefix or 0            address and length in bits u8
//	   manager URL, manager token                    each length u16, at most 512
type LoginResponse struct {
	Code                     LoginCode
	Message                  string
	Certificate              []byte
	Issuers                  [][]byte
	Ticket                   []byte
	SessionKey               [32]byte
	NotAfter                 int64 // seconds since 1970-01-01 UTC
	ServerTime               int64 // seconds since 1970-01-01 UTC
	NMSIPv4, NMSIPv6         netip.AddrPort
	FQDN, Domain, Network    string
	VirtualIPv4, VirtualIPv6 netip.Addr
	IPv4Prefix, IPv6Prefix   netip.Prefix
	ManagerURL, ManagerToken string
}

// Append writes the message.
func (m LoginResponse) Append(dst []byte) []byte {
	dst = append(appendHeader(dst, TypeLoginResponse), byte(m.Code))
	dst = appendText(dst, m.Message)
	dst = appendVector16(dst, m.Certificate)
	dst = append(dst, byte(len(m.Issuers)))
	for _, issuer := range m.Issuers {
		dst = appendVector16(dst, issuer)
	}
	dst = appendVector16(dst, m.Ticket)
	dst = append(dst, m.SessionKey[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.NotAfter))
	dst = binary.BigEndian.AppendUint64(dst, uint64(m.ServerTime))
	dst = appendAddrPort(dst, m.NMSIPv4)
	dst = appendAddrPort(dst, m.NMSIPv6)
	dst = appendName(dst, m.FQDN)
	dst = appendName(dst, m.Domain)
	dst = appendName(dst, m.Network)
	dst = appendAddr(dst, m.VirtualIPv4)
	dst = appendAddr(dst, m.VirtualIPv6)
	dst = appendPrefix(dst, m.IPv4Prefix)
	dst = appendPrefix(dst, m.IPv6Prefix)
	dst = appendText(dst, m.ManagerURL)
	return appendText(dst, m.ManagerToken)
}

// ParseLoginResponse decodes a LoginResponse.
func ParseLoginResponse(b []byte) (LoginResponse, error) {
	var m LoginResponse
	r := reader{b: b}
	r.header(TypeLoginResponse)
	if m.Code = LoginCode(r.u8()); r.err == nil && m.Code > LoginInvalid {
		r.fail(ErrValue)
	}
	m.Message = r.text(MaxLoginText)
	m.Certificate = r.vector16(MaxCertificate)
	m.Issuers = parseIssuers(&r)
	m.Ticket = r.vector16(MaxTicket)
	r.copyTo(m.SessionKey[:])
	m.NotAfter = int64(r.u64())
	m.ServerTime = int64(r.u64())
	m.NMSIPv4 = r.optionalAddrPort()
	m.NMSIPv6 = r.optionalAddrPort()
	m.FQDN, m.Domain, m.Network = r.name(), r.name(), r.name()
	m.VirtualIPv4, m.VirtualIPv6 = r.optionalAddr(), r.optionalAddr()
	m.IPv4Prefix, m.IPv6Prefix = r.optionalPrefix(), r.optionalPrefix()
	m.ManagerURL = r.text(MaxURL)
	m.ManagerToken = r.text(MaxToken)
	if err := r.done(); err != nil {
		return LoginResponse{}, err
	}
	if m.wrongFamily() {
		return LoginResponse{}, ErrAddress
	}
	return m, nil
}

func (m LoginResponse) wrongFamily() bool {
	not4 := func(a netip.Addr) bool { return a.IsValid() && !a.Is4() }
	not6 := func(a netip.Addr) bool { return a.IsValid() && !a.Is6() }
	return not4(m.NMSIPv4.Addr()) || not4(m.VirtualIPv4) || not4(m.IPv4Prefix.Addr()) ||
		not6(m.NMSIPv6.Addr()) || not6(m.VirtualIPv6) || not6(m.IPv6Prefix.Addr())
}

func parseIssuers(r *reader) [][]byte {
	n := int(r.u8())
	if n > MaxIssuers {
		r.fail(ErrLength)
	}
	if n == 0 || r.err != nil {
		return nil
	}
	issuers := make([][]byte, 0, n)
	for range n {
		issuer := r.vector16(MaxIssuer)
		if len(issuer) == 0 {
			r.fail(ErrLength)
		}
		issuers = append(issuers, issuer)
	}
	if r.err != nil {
		return nil
	}
	return issuers
}
