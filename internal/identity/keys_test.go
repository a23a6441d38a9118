package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestKeysSurvivePEM(t *testing.T) {
	device := mustKey(t)
	if got := must(ParseDeviceKey(device.EncodePEM()))(t); got.Public() != device.Public() || !got.Static().Equal(device.Static()) {
		t.Error("device key differs")
	}
	root := must(NewRootKey(rand.Reader))(t)
	if got := must(ParseRootKey(root.EncodePEM()))(t); !got.Public().Equal(root.Public()) {
		t.Error("root key differs")
	}
	issuer := must(NewIssuerKey(rand.Reader))(t)
	if got := must(ParseIssuerKey(EncodeIssuerKey(issuer)))(t); !got.Equal(issuer) {
		t.Error("issuer key differs")
	}
	c := root.IssueIssuer(issuer.Public().(ed25519.PublicKey), testNow, testNow.Add(time.Hour))
	if got := must(ParseIssuerCertificatePEM(c.EncodePEM()))(t); got != c {
		t.Error("issuer certificate differs")
	}
}

func TestOneKeyDoesNotStandForAnother(t *testing.T) {
	device := mustKey(t).EncodePEM()
	root := must(NewRootKey(rand.Reader))(t).EncodePEM()
	for _, row := range []struct {
		name string
		err  error
	}{
		{"device key as root key", second(ParseRootKey(device))},
		{"root key as issuer key", second(ParseIssuerKey(root))},
		{"root key as device key", second(ParseDeviceKey(root))},
		{"two blocks", second(ParseDeviceKey(append(bytes.Clone(device), device...)))},
		{"text behind", second(ParseDeviceKey(append(bytes.Clone(device), "x"...)))},
		{"empty", second(ParseDeviceKey(nil))},
		{"too long", second(ParseDeviceKey(append(bytes.Repeat([]byte(" "), maxPEM), device...)))},
		{"wrong version", second(ParseRootKey(encodePEM(pemRootKey, make([]byte, 33))))},
		{"short key", second(ParseIssuerKey(encodePEM(pemIssuerKey, []byte{1, 2, 3})))},
	} {
		if !errors.Is(row.err, ErrMalformed) {
			t.Errorf("%s: %v", row.name, row.err)
		}
	}
}

func second[V any](_ V, err error) error { return err }

func TestDeviceKeysDifferAndSign(t *testing.T) {
	a, b := mustKey(t), mustKey(t)
	if a.NodeID() == b.NodeID() {
		t.Error("two keys, one NodeID")
	}
	message := []byte("message")
	signature := a.Sign(message)
	if !a.Public().Verify(message, signature) || b.Public().Verify(message, signature) || a.Public().Verify(message, signature[:63]) {
		t.Error("signatures")
	}
	if _, err := NewDeviceKey(iotest.ErrReader(io.ErrNoProgress)); err == nil {
		t.Error("a key without randomness")
	}
}

func TestNodeIDText(t *testing.T) {
	id := mustKey(t).NodeID()
	if got := must(ParseNodeID(id.String()))(t); got != id || len(id.String()) != 64 || !strings.HasPrefix(id.String(), id.Short()) {
		t.Error(id)
	}
	j := must(json.Marshal(map[NodeID]NodeID{id: id}))(t)
	var m map[NodeID]NodeID
	if err := json.Unmarshal(j, &m); err != nil || m[id] != id {
		t.Errorf("%s, %v", j, err)
	}
	for _, s := range []string{"", id.Short(), strings.ToUpper(id.String()), id.String() + "00", strings.Repeat("g", 64)} {
		if _, err := ParseNodeID(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if (NodeID{1}).Compare(NodeID{2}) != -1 || (NodeID{2}).Compare(NodeID{1, 9}) != 1 || id.Compare(id) != 0 {
		t.Error("Compare")
	}
}

func TestAssurance(t *testing.T) {
	if AssuranceMAC >= AssuranceBasic || AssuranceBasic >= AssuranceDot1X || AssuranceDot1X >= AssuranceKey {
		t.Error("order")
	}
	for _, s := range []string{"mac", "basic", "dot1x", "key"} {
		if got := must(ParseAssurance(s))(t); got.String() != s || !got.Valid() {
			t.Errorf("%s: %s", s, got)
		}
	}
	for _, s := range []string{"", "none", "MAC"} {
		if _, err := ParseAssurance(s); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

const testCA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"

func TestTrustFile(t *testing.T) {
	want := Trust{Roots: []ed25519.PublicKey{must(NewRootKey(rand.Reader))(t).Public()}, TLSCA: []byte(testCA)}
	b := must(EncodeTrust(want))(t)
	if diff := cmp.Diff(want, must(ParseTrust(b))(t)); diff != "" {
		t.Error(diff)
	}
	good := string(b)
	for _, row := range []struct{ name, in string }{
		{"empty", ""},
		{"unknown field", strings.Replace(good, "rootKeys", "rootKey", 1)},
		{"two objects", good + good},
		{"no roots", `{"rootKeys":[],"tlsCA":""}`},
		{"short root", strings.Replace(good, `"rootKeys": [`, `"rootKeys": ["AAAA",`, 1)},
		{"no CA", strings.Replace(good, "BEGIN CERTIFICATE", "BEGIN NOTHING", 1)},
		{"null", "null"},
	} {
		if _, err := ParseTrust([]byte(row.in)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestDeviceKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	if _, err := LoadDeviceKey(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	made := must(LoadOrCreateDeviceKey(path, rand.Reader))(t)
	if again := must(LoadOrCreateDeviceKey(path, rand.Reader))(t); again.Public() != made.Public() {
		t.Error("the second call makes another key")
	}
	info := must(os.Stat(path))(t)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadDeviceKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreateDeviceKey(path, rand.Reader); !errors.Is(err, ErrMalformed) {
		t.Errorf("a damaged key is replaced: %v", err)
	}
	entries := must(os.ReadDir(filepath.Dir(path)))(t)
	if len(entries) != 1 {
		t.Errorf("temporary files are left: %v", entries)
	}
}

func TestIssuerAndTrustFiles(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	trust := a.trust()
	trust.TLSCA = []byte(testCA)
	files := map[string][]byte{
		"issuer.key": EncodeIssuerKey(a.issuer.key), "issuer.cert": a.issuer.Certificate().EncodePEM(),
		"trust.json": must(EncodeTrust(trust))(t),
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := must(LoadIssuer(filepath.Join(dir, "issuer.key"), filepath.Join(dir, "issuer.cert")))(t)
	if got.Certificate() != a.issuer.Certificate() {
		t.Error("issuer differs")
	}
	if diff := cmp.Diff(trust, must(LoadTrust(filepath.Join(dir, "trust.json")))(t)); diff != "" {
		t.Error(diff)
	}
	for _, paths := range [][2]string{{"issuer.cert", "issuer.cert"}, {"issuer.key", "issuer.key"}, {"none", "issuer.cert"}, {"issuer.key", "none"}} {
		if _, err := LoadIssuer(filepath.Join(dir, paths[0]), filepath.Join(dir, paths[1])); err == nil {
			t.Errorf("%v is loaded", paths)
		}
	}
	if _, err := LoadTrust(filepath.Join(dir, "issuer.key")); !errors.Is(err, ErrMalformed) {
		t.Errorf("a key as trust file: %v", err)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	a, key := newAuthority(t), mustKey(t)
	ticket, relay, ring := sampleTicket(), sampleRelayToken(), testRing(1)
	for _, v := range []any{key, a.root, a.issuer, ring, ring.Current, NewSignalKeys([32]byte{1}), ticket, &ticket, relay, &relay} {
		j := string(must(json.Marshal(v))(t))
		for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), j} {
			if !strings.Contains(s, redacted) || len(s) > 200 {
				t.Errorf("%T prints %s", v, s)
			}
		}
	}
}
