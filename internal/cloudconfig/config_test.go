package cloudconfig

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// initialText is a configuration as cyphonicctl init writes it.
const initialText = `
dataDirectory: /var/lib/cyphonic
trust: ../trust.json
etcd: {endpoints: [], caFile: "", certificateFile: "", keyFile: ""}
manager: {listen: ":7440", certificateFile: tls.crt, keyFile: tls.key, adminTokenHashFile: admin-token.sha256}
as: {listen: ":7441", certificateFile: tls.crt, keyFile: tls.key, issuerKeyFile: issuer.key, issuerCertificateFile: issuer.cert}
nms: {listen: ":7442"}
trs: {listen: ":7443"}
metrics: {listen: "127.0.0.1:7490"}
`

func TestLoadResolvesPathsAndKeepsDefaults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cyphonicd.yaml")
	if err := os.WriteFile(path, []byte(initialText), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.AS.IssuerKeyFile != filepath.Join(filepath.Dir(path), "issuer.key") || c.DataDirectory != "/var/lib/cyphonic" || c.Etcd.CAFile != "" {
		t.Errorf("paths: %+v", c)
	}
	short, err := Parse([]byte("trs: {allowLocalClients: true}"))
	if err != nil || short.TRS.Listen != ":7443" || short.NMS.Listen != ":7442" || !short.TRS.AllowLocalClients {
		t.Errorf("defaults: %+v %v", short, err)
	}
}

func TestParseIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":  "dataDir: x",
		"unknown nested": "nms: {port: 7442}",
		"twice":          "trust: a\ntrust: b",
		"wrong type":     "nms: 7442",
	} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestCheckNamesEveryFault(t *testing.T) {
	directory := t.TempDir()
	blank := filepath.Join(directory, "blank")
	if err := os.WriteFile(blank, []byte(strings.Repeat("0", 64)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Metrics.Listen = "0.0.0.0:7490"
	c.NMS.Listen = "7442"
	c.TRS.Listen = "cloud.example:7443"
	c.TRS.NetworkBytesPerSecond = -1
	c.Manager.AdminTokenHashFile = blank
	_, err := c.Check(Services(), time.Now())
	if err == nil {
		t.Fatal("accepted")
	}
	for _, field := range []string{
		"metrics.listen", "nms.listen", "trs.listen", "trs.networkBytesPerSecond",
		"manager.certificateFile", "manager.adminTokenHashFile", "as.certificateFile", "as.issuerKeyFile",
	} {
		if !strings.Contains(err.Error(), field+":") {
			t.Errorf("the error does not name %s:\n%v", field, err)
		}
	}
	c = Default()
	if _, err := c.Check([]string{ServiceNMS}, time.Now()); err == nil || !strings.Contains(err.Error(), "etcd.endpoints") {
		t.Errorf("NMS alone without etcd: %v", err)
	}
	c.Etcd.Endpoints = []string{"https://etcd.example:2379"}
	if _, err := c.Check([]string{ServiceNMS, ServiceTRS}, time.Now()); err != nil {
		t.Errorf("NMS and TRS with etcd: %v", err)
	}
}

func TestCheckRefusesAnUnknownService(t *testing.T) {
	c := Default()
	_, err := c.Check([]string{ServiceNMS, "ams"}, time.Now())
	if err == nil || !strings.Contains(err.Error(), `there is no service "ams": use manager, as, nms, trs, speaker`) {
		t.Error(err)
	}
}

// Whoever can read the TLS key is the cloud for every device; whoever can
// write the hash of the token is its operator.
func TestCheckRefusesSecretsOpenToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(strings.Repeat("a1", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Manager.AdminTokenHashFile, c.Manager.KeyFile, c.Manager.CertificateFile = path, path, path
	for mode, fields := range map[os.FileMode][]string{0o600: nil, 0o644: {"manager.certificateFile"}, 0o620: {"manager.certificateFile", "manager.adminTokenHashFile"}} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := c.Check([]string{ServiceManager}, time.Now())
		for _, field := range []string{"manager.certificateFile", "manager.adminTokenHashFile"} {
			refused := strings.Contains(err.Error(), field+": "+path+" is accessible to others")
			if refused != slices.Contains(fields, field) {
				t.Errorf("mode %04o, %s: %v", mode, field, err)
			}
		}
	}
}

// The reference in docs/cloud.md must name every field.
func TestEveryFieldIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/cloud.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := fieldNames(reflect.TypeFor[Config](), "")
	if len(fields) < 20 {
		t.Fatalf("only %d fields found", len(fields))
	}
	for _, f := range fields {
		if !strings.Contains(string(text), "`"+f+"`") {
			t.Errorf("docs/cloud.md does not document `%s`", f)
		}
	}
}

func fieldNames(t reflect.Type, prefix string) []string {
	var names []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			names = append(names, fieldNames(f.Type, prefix+name+".")...)
			continue
		}
		names = append(names, prefix+name)
	}
	return names
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(initialText))
	f.Add([]byte("etcd: [1]"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Parse(b) })
}
