package hostdns

const (
	hasDomainFiles  = true
	domainDirectory = "/etc/resolver"
)
