package cloudconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheEtcdPartIsChecked(t *testing.T) {
	secret, open := filepath.Join(t.TempDir(), "secret"), filepath.Join(t.TempDir(), "open")
	for path, mode := range map[string]os.FileMode{secret: 0o600, open: 0o644} {
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		change func(*Etcd)
		field  string // "": accepted
	}{
		"user with password":      {func(e *Etcd) { e.Username, e.PasswordFile = "u", secret }, ""},
		"certificate with key":    {func(e *Etcd) { e.CertificateFile, e.KeyFile = open, secret }, ""},
		"user without password":   {func(e *Etcd) { e.Username = "u" }, "etcd.username"},
		"password without user":   {func(e *Etcd) { e.PasswordFile = secret }, "etcd.username"},
		"password open to others": {func(e *Etcd) { e.Username, e.PasswordFile = "u", open }, "etcd.passwordFile"},
		"no password file":        {func(e *Etcd) { e.Username, e.PasswordFile = "u", secret+"x" }, "etcd.passwordFile"},
		"certificate without key": {func(e *Etcd) { e.CertificateFile = open }, "etcd.certificateFile"},
		"key open to others":      {func(e *Etcd) { e.CertificateFile, e.KeyFile = open, open }, "etcd.keyFile"},
		"no quota":                {func(e *Etcd) { e.QuotaBytes = 0 }, "etcd.quotaBytes"},
		"quota beyond all disks":  {func(e *Etcd) { e.QuotaBytes = 1 << 50 }, "etcd.quotaBytes"},
		"retention without unit":  {func(e *Etcd) { e.Retention = "60" }, "etcd.retention"},
		"retention of a second":   {func(e *Etcd) { e.Retention = "1s" }, "etcd.retention"},
		"retention of half a day": {func(e *Etcd) { e.Retention = "12h" }, ""},
	} {
		c := Default()
		c.Etcd.Endpoints = []string{"https://etcd.example:2379"}
		row.change(&c.Etcd)
		_, err := c.Check([]string{ServiceNMS}, time.Now())
		if (err == nil) != (row.field == "") || (err != nil && !strings.Contains(err.Error(), row.field+":")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d := Default().Etcd.RetentionTime(); d != time.Hour {
		t.Errorf("retention %v", d)
	}
}
