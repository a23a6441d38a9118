//go:build !darwin

package hostdns

const (
	hasDomainFiles  = false
	domainDirectory = "/etc/resolver"
)
