package cloudconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a certificate signed by itself.
func writeCertificate(t *testing.T, name string, change func(*x509.Certificate)) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	change(c)
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCheckOfTheLoginsOfTheManager(t *testing.T) {
	authority := writeCertificate(t, "authority", func(*x509.Certificate) {})
	ended := writeCertificate(t, "ended", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	machine := writeCertificate(t, "machine", func(c *x509.Certificate) { c.IsCA = false })
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	good := Manager{
		ClientCAFile: authority, SecretsDirectory: t.TempDir(), ShutdownDelay: "5s",
		OIDC: OIDC{Issuer: "https://login.example.org", ClientID: "cyphonic", UsernameClaim: "email", GroupsClaim: "groups", UsernamePrefix: "corp:", CAFile: authority},
	}
	for name, c := range map[string]struct {
		change func(*Manager)
		field  string // at fault; empty: none
		say    string // what the error says to do
	}{
		"good":                        {func(*Manager) {}, "", ""},
		"nothing configured":          {func(m *Manager) { *m = defaultManager() }, "", ""},
		"groups not wanted":           {func(m *Manager) { m.OIDC.GroupsClaim = "" }, "", ""},
		"client CA absent":            {func(m *Manager) { m.ClientCAFile = "/nonexistent" }, "manager.clientCAFile", "no such file"},
		"client CA without any":       {func(m *Manager) { m.ClientCAFile = empty }, "manager.clientCAFile", "has no certificate"},
		"client CA ended":             {func(m *Manager) { m.ClientCAFile = ended }, "manager.clientCAFile", "make new ones"},
		"client CA is no authority":   {func(m *Manager) { m.ClientCAFile = machine }, "manager.clientCAFile", "not one of an authority"},
		"provider's CA ended":         {func(m *Manager) { m.OIDC.CAFile = ended }, "manager.oidc.caFile", "make new ones"},
		"issuer forgotten":            {func(m *Manager) { m.OIDC.Issuer = "" }, "manager.oidc.issuer", "or remove manager.oidc"},
		"issuer in clear":             {func(m *Manager) { m.OIDC.Issuer = "http://login.example.org" }, "manager.oidc.issuer", "https://"},
		"issuer no URL":               {func(m *Manager) { m.OIDC.Issuer = "login.example.org" }, "manager.oidc.issuer", "openid-configuration"},
		"issuer with a query":         {func(m *Manager) { m.OIDC.Issuer += "/?tenant=1" }, "manager.oidc.issuer", "openid-configuration"},
		"client forgotten":            {func(m *Manager) { m.OIDC.ClientID = "" }, "manager.oidc.clientID", "register"},
		"username claim empty":        {func(m *Manager) { m.OIDC.UsernameClaim = "" }, "manager.oidc.usernameClaim", "leave it out"},
		"prefix with a line break":    {func(m *Manager) { m.OIDC.UsernamePrefix = "a\n" }, "manager.oidc.usernamePrefix", "without spaces"},
		"secrets that do not exist":   {func(m *Manager) { m.SecretsDirectory = "/nonexistent" }, "manager.secretsDirectory", "create it"},
		"secrets are a file":          {func(m *Manager) { m.SecretsDirectory = empty }, "manager.secretsDirectory", "name the folder"},
		"secrets others can write to": {func(m *Manager) { m.SecretsDirectory = open }, "manager.secretsDirectory", "chmod 700"},
		"delay without unit":          {func(m *Manager) { m.ShutdownDelay = "5" }, "manager.shutdownDelay", "as in 5s"},
		"delay below zero":            {func(m *Manager) { m.ShutdownDelay = "-1s" }, "manager.shutdownDelay", "between"},
		"delay of an hour":            {func(m *Manager) { m.ShutdownDelay = "1h" }, "manager.shutdownDelay", "5m"},
	} {
		config := Config{Manager: good}
		c.change(&config.Manager)
		found := map[string]error{}
		m := new(Material)
		config.checkManager(m, time.Now(), func(field string, err error) {
			if err != nil {
				found[field] = err
			}
		})
		for _, field := range []string{"manager.listen", "manager.certificateFile", "manager.adminTokenHashFile"} {
			delete(found, field) // are missing here, and tested elsewhere
		}
		switch err := found[c.field]; {
		case c.field == "" && len(found) > 0:
			t.Errorf("%s: %v", name, found)
		case c.field != "" && (len(found) != 1 || err == nil || !strings.Contains(err.Error(), c.say)):
			t.Errorf("%s: got %v, want a fault of %s that says %q", name, found, c.field, c.say)
		}
		if name == "good" && (m.OIDCRoots == nil || m.ShutdownDelay != 5*time.Second) {
			t.Errorf("material: %+v", m)
		}
	}
}

func TestPathsOfTheManagerAreRelativeToTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cyphonicd.yaml")
	text := "manager: {clientCAFile: machines.pem, secretsDirectory: secrets, oidc: {issuer: 'https://login.example.org', clientID: c, caFile: login.pem}}"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{c.Manager.ClientCAFile, c.Manager.SecretsDirectory, c.Manager.OIDC.CAFile} {
		if filepath.Dir(got) != filepath.Dir(path) {
			t.Errorf("%q is not below the folder of the file", got)
		}
	}
	if c.Manager.OIDC.UsernameClaim != "sub" || c.Manager.OIDC.GroupsClaim != "groups" || c.Manager.Listen != ":7440" {
		t.Errorf("defaults: %+v", c.Manager)
	}
}
