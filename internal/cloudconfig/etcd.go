package cloudconfig

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Etcd says where the desired state is kept.
type Etcd struct {
	// Endpoints are the URLs of an etcd cluster. Default: none, which embeds
	// etcd (verbs all and manager only).
	Endpoints []string `json:"endpoints,omitempty"`
	// CAFile, CertificateFile and KeyFile (PEM) are for https endpoints.
	CAFile          string `json:"caFile,omitempty"`
	CertificateFile string `json:"certificateFile,omitempty"`
	KeyFile         string `json:"keyFile,omitempty"`
	// Username is the user of a cluster with authentication, PasswordFile the
	// file with the password, readable by its owner only. Default: none.
	Username     string `json:"username,omitempty"`
	PasswordFile string `json:"passwordFile,omitempty"`
	// QuotaBytes bounds the file of the embedded etcd; at the bound writes fail.
	// Default: 8589934592, the most that etcd recommends.
	QuotaBytes int64 `json:"quotaBytes,omitempty"`
	// Retention is how long the embedded etcd keeps old revisions: for so long
	// a list can be read on and a watch resumed. Default: "1h".
	Retention string `json:"retention,omitempty"`
}

// Bounds of the settings of the embedded etcd.
const (
	minQuotaBytes = 64 << 20
	maxQuotaBytes = 1 << 40
	minRetention  = 5 * time.Minute
	maxRetention  = 7 * 24 * time.Hour
)

// RetentionTime is Retention as a duration; Check says whether it is one.
func (e Etcd) RetentionTime() time.Duration {
	d, err := time.ParseDuration(e.Retention)
	if err != nil {
		return time.Hour
	}
	return d
}

func (c *Config) checkEtcd(services []string, add func(string, error)) {
	if len(c.Etcd.Endpoints) == 0 {
		if !slices.Contains(services, ServiceManager) {
			add("etcd.endpoints", errors.New("needed by a service that runs without the manager: name the etcd cluster"))
		}
		if c.DataDirectory == "" {
			add("dataDirectory", errors.New("needed for the embedded etcd"))
		}
	}
	if q := c.Etcd.QuotaBytes; q < minQuotaBytes || q > maxQuotaBytes {
		add("etcd.quotaBytes", fmt.Errorf("is %d, must be %d … %d", q, minQuotaBytes, maxQuotaBytes))
	}
	if d, err := time.ParseDuration(c.Etcd.Retention); err != nil || d < minRetention || d > maxRetention {
		add("etcd.retention", fmt.Errorf("is %q, must be %v … %v", c.Etcd.Retention, minRetention, maxRetention))
	}
	switch {
	case (c.Etcd.CertificateFile == "") != (c.Etcd.KeyFile == ""):
		add("etcd.certificateFile", errors.New("certificateFile and keyFile go together"))
	case c.Etcd.KeyFile != "":
		add("etcd.keyFile", checkMode(c.Etcd.KeyFile, unreadable))
	}
	switch {
	case (c.Etcd.Username == "") != (c.Etcd.PasswordFile == ""):
		add("etcd.username", errors.New("username and passwordFile go together"))
	case c.Etcd.PasswordFile != "":
		add("etcd.passwordFile", checkMode(c.Etcd.PasswordFile, unreadable))
	}
}
