package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/identity"
	"github.com/cyphonic/cyphonic/internal/login"
	"github.com/cyphonic/cyphonic/internal/program"
	"github.com/cyphonic/cyphonic/internal/signaling"
	"github.com/cyphonic/cyphonic/internal/wire"
	"github.com/cyphonic/cyphonic/services/nms"
)

const resources = `
apiVersion: cyphonic/v1
kind: Network
metadata: {name: home}
spec: {ipv4Prefix: 10.64.0.0/24, ipv6Prefix: "fd00:64::/64", domain: home.example}
---
apiVersion: cyphonic/v1
kind: Node
metadata: {name: viewer, labels: {role: viewer}}
spec: {network: home}
---
apiVersion: cyphonic/v1
kind: Adapter
metadata: {name: gate}
spec: {network: home}
---
apiVersion: cyphonic/v1
kind: Adapter
metadata: {name: other}
spec: {network: home}
---
apiVersion: cyphonic/v1
kind: GeneralNode
metadata: {name: cam1, labels: {role: camera}}
spec: {network: home, adapter: gate, mac: "02:00:00:00:00:01", addressMode: dual}
---
apiVersion: cyphonic/v1
kind: GeneralNode
metadata: {name: cam2}
spec: {network: home, adapter: gate, mac: "02:00:00:00:00:02"}
---
apiVersion: cyphonic/v1
kind: AccessPolicy
metadata: {name: web}
spec:
  network: home
  from: [{matchLabels: {role: viewer}}]
  to: [{matchLabels: {role: camera}}]
  rules: [{protocol: tcp, ports: ["80"]}]
`

// services is the CloudService resources of the running cloud.
func services(s *site) string {
	var b strings.Builder
	for _, name := range []string{"manager", "as", "nms", "trs"} {
		_, port, _ := net.SplitHostPort(s.addresses[name])
		b.WriteString("---\napiVersion: cyphonic/v1\nkind: CloudService\nmetadata: {name: " + name +
			"}\nspec: {service: " + name + ", ipv4: 127.0.0.1, port: " + port + "}\n")
	}
	return b.String()
}

func (s *site) dial() *login.Client {
	s.t.Helper()
	c, err := login.Dial(s.t.Context(), login.Options{Address: s.addresses["as"], Trust: s.trust})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *site) token(flag, name string) string {
	return strings.TrimSpace(s.ctl("token", "create", flag, name))
}

func viewerSubject() wire.Subject { return wire.Subject{Kind: wire.SubjectNode, Name: "viewer"} }

// mustBeDenied demands a refusal by the AS whose message contains text.
func mustBeDenied(t *testing.T, what string, err error, text string) {
	t.Helper()
	var denied *login.DeniedError
	if !errors.As(err, &denied) || !strings.Contains(denied.Message, text) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestTheWholeCloud runs cyphonicd all as a process with an installation as
// cyphonicctl init writes it, takes two devices from enrolment to a relayed
// datagram, kills the process and shows that everything goes on.
func TestTheWholeCloud(t *testing.T) {
	s := newSite(t)
	cloud := s.start()
	s.apply(resources + services(s))
	viewer, cam, gateKey, token := logInEverybody(t, s)

	await(t, "both registrations", func() bool { return viewer.client.Registered() && cam.client.Registered() }, viewer, cam)
	checkLocations(t, s, viewer, cam)
	atViewer, atCam := direct(t, viewer, cam, false)
	if atViewer.Kind != wire.RouteDirect || len(atViewer.Direction.Candidates) != 1 || atViewer.Direction.Candidates[0] != cam.address() {
		t.Errorf("direction at the viewer: %v %v", atViewer.Kind, atViewer.Direction.Candidates)
	}
	if r := atCam.Direction.Rules; len(r) != 1 || r[0] != (wire.Rule{Inbound: true, Protocol: 6, PortLow: 80, PortHigh: 80}) {
		t.Errorf("rules at the camera: %v", r)
	}
	viewer.bindRelay()
	if bound := cam.bindRelay(); !bound.PeerBound {
		t.Error("the second side does not see that the first one is bound")
	}
	passRelayed(t, viewer, cam)
	passRelayed(t, cam, viewer)

	last := s.token("--node", "viewer") // acknowledged a moment before the end
	cloud.kill()
	start := time.Now()
	cloud = s.start()
	t.Logf("ready %v after the restart", time.Since(start).Round(time.Millisecond))
	afterRestart(t, s, viewer, cam, gateKey, token, last)

	if code := cloud.terminate(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
}

// logInEverybody enrols the node and the adapter and logs the general node in
// through the adapter; who must not get in does not.
func logInEverybody(t *testing.T, s *site) (viewer, cam *device, gateKey *identity.DeviceKey, token string) {
	t.Helper()
	c := s.dial()
	viewerKey, gateKey, camKey := newDeviceKey(t), newDeviceKey(t), newDeviceKey(t)
	token = s.token("--node", "viewer")
	_, err := c.Login(t.Context(), viewerSubject(), viewerKey, wire.CredentialDeviceKey{})
	mustBeDenied(t, "a key before its enrolment", err, "token create")
	grant, err := c.Login(t.Context(), viewerSubject(), viewerKey, wire.CredentialToken{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Login(t.Context(), viewerSubject(), viewerKey, wire.CredentialToken{Token: token}); err != nil {
		t.Errorf("the same device repeats its enrolment: %v", err)
	}
	_, err = c.Login(t.Context(), viewerSubject(), newDeviceKey(t), wire.CredentialToken{Token: token})
	mustBeDenied(t, "another device with the used token", err, "used by another key")

	_, err = c.LoginGeneralNode(t.Context(), "cam1", camKey, "gate", gateKey, identity.AssuranceMAC)
	mustBeDenied(t, "an adapter before its enrolment", err, "must log in itself first")
	gate, err := c.Login(t.Context(), wire.Subject{Kind: wire.SubjectAdapter, Name: "gate"}, gateKey, wire.CredentialToken{Token: s.token("--adapter", "gate")})
	if err != nil || gate.ManagerURL != "https://"+s.addresses["manager"] {
		t.Fatalf("adapter: %v", err)
	}
	otherKey := newDeviceKey(t)
	if _, err = c.Login(t.Context(), wire.Subject{Kind: wire.SubjectAdapter, Name: "other"}, otherKey, wire.CredentialToken{Token: s.token("--adapter", "other")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.LoginGeneralNode(t.Context(), "cam1", camKey, "other", otherKey, identity.AssuranceMAC)
	mustBeDenied(t, "an adapter that the desired state does not name", err, "not assigned")
	camGrant, err := c.LoginGeneralNode(t.Context(), "cam1", camKey, "gate", gateKey, identity.AssuranceMAC)
	if err != nil {
		t.Fatal(err)
	}
	return newDevice(t, viewerKey, grant), newDevice(t, camKey, camGrant), gateKey, token
}

// checkLocations demands that the operator sees the real source addresses.
func checkLocations(t *testing.T, s *site, devices ...*device) {
	t.Helper()
	var answer struct{ Locations []nms.Location }
	if err := json.Unmarshal([]byte(s.getText("/debug/locations")), &answer); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]netip.AddrPort)
	for _, l := range answer.Locations {
		seen[l.FQDN] = l.Observed
	}
	for _, d := range devices {
		if seen[d.grant.FQDN] != d.address() {
			t.Errorf("the NMS shows %v for %s, which is at %v", seen[d.grant.FQDN], d.grant.FQDN, d.address())
		}
	}
}

// afterRestart shows that tickets, relay tokens, enrolments and resources from
// before still count, and nothing that was acknowledged is lost.
func afterRestart(t *testing.T, s *site, viewer, cam *device, gateKey *identity.DeviceKey, token, last string) {
	t.Helper()
	// The devices notice nothing but that their datagrams are not answered;
	// they register again when their keep-alive is due, here at once.
	now := time.Now()
	viewer.client.Register(now)
	cam.client.Register(now)
	await(t, "the registrations after the restart", func() bool {
		return strings.Count(s.getText("/debug/locations"), `"fqdn"`) == 2
	}, viewer, cam)
	checkLocations(t, s, viewer, cam)

	// Relay tokens from before the restart bind again.
	viewer.bindRelay()
	cam.bindRelay()
	passRelayed(t, viewer, cam)
	if route, _ := direct(t, viewer, cam, true); route.Kind != wire.RouteRelayed {
		t.Errorf("a wanted relay gives %v", route.Kind)
	}
	viewer.bindRelay()
	cam.bindRelay()
	passRelayed(t, cam, viewer)

	c := s.dial()
	if _, err := c.Login(t.Context(), viewerSubject(), viewer.key, wire.CredentialDeviceKey{}); err != nil {
		t.Errorf("the enrolled key after the restart: %v", err)
	}
	_, err := c.Login(t.Context(), viewerSubject(), newDeviceKey(t), wire.CredentialToken{Token: token})
	mustBeDenied(t, "the used token after the restart", err, "used by another key")
	camGrant, err := c.LoginGeneralNode(t.Context(), "cam1", cam.key, "gate", gateKey, identity.AssuranceMAC)
	if err != nil || camGrant.VirtualIPv4 != cam.grant.VirtualIPv4 || camGrant.VirtualIPv6 != cam.grant.VirtualIPv6 {
		t.Errorf("the general node after the restart: %v", err)
	}
	if _, err := c.Login(t.Context(), viewerSubject(), newDeviceKey(t), wire.CredentialToken{Token: last}); err != nil {
		t.Errorf("the token that was created a moment before the end: %v", err)
	}
	// That was another device taking over: the old one is cut off at once.
	if _, err := viewer.client.Request(time.Now(), wire.Target{FQDN: cam.grant.FQDN}, false); err != nil {
		t.Fatal(err)
	}
	await(t, "the replaced device to be refused", func() bool {
		if r, ok := take[signaling.Routed](viewer); ok {
			t.Fatalf("the replaced device is directed: %v", r.Kind)
		}
		return !strings.Contains(s.getText("/metrics"), `cyphonic_nms_drops_total{reason="superseded_login"} 0`)
	}, viewer, cam)
}

func TestWrongConfigurationsDoNotStart(t *testing.T) {
	s := newSite(t)
	for name, args := range map[string][]string{
		"no such file":       {"all", "--config", s.directory + "/none.yaml"},
		"unknown verb":       {"everything"},
		"unknown log format": {"all", "--config", s.configPath(), "--log-format", "xml"},
		"NMS without etcd":   {"nms", "--config", s.configPath()},
	} {
		var out strings.Builder
		if code := execute(t.Context(), args, &out, &out); code != program.ExitUsage {
			t.Errorf("%s: exit code %d: %s", name, code, out.String())
		}
	}
	var out strings.Builder
	if code := execute(t.Context(), []string{"config", "validate", "--config", s.configPath()}, &out, &out); code != program.ExitOK {
		t.Errorf("config validate: exit code %d: %s", code, out.String())
	}
	s.edit("cloud/cyphonicd.yaml", "issuer.key", "tls.key")
	out.Reset()
	if code := execute(t.Context(), []string{"config", "validate", "--config", s.configPath()}, &out, &out); code != program.ExitUsage || !strings.Contains(out.String(), "as.issuerKeyFile") {
		t.Errorf("a wrong issuer key: exit code %d: %s", code, out.String())
	}
}

// What a start would refuse, config validate refuses too, by the field's name.
func TestConfigValidateRefusesWhatWouldNotStart(t *testing.T) {
	for name, row := range map[string]struct{ file, text, field string }{
		"hash of a sample token": {"cloud/admin-token.sha256", identity.HashOpaqueToken("admin"), "manager.adminTokenHashFile: "},
		"etcd in the clear":      {"cloud/cyphonicd.yaml", "etcd: {endpoints: [\"http://192.0.2.1:2379\"]}\n", "etcd: "},
		"no CA of etcd":          {"cloud/cyphonicd.yaml", "etcd: {endpoints: [\"https://192.0.2.1:2379\"], caFile: none.pem}\n", "etcd: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			path := filepath.Join(s.directory, row.file)
			text := row.text
			if row.file == "cloud/cyphonicd.yaml" {
				old, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				text += regexp.MustCompile(`(?m)^etcd:.*\n`).ReplaceAllString(string(old), "")
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			args := []string{"config", "validate", "--config", s.configPath()}
			if code := execute(t.Context(), args, &out, &out); code != program.ExitUsage || !strings.Contains(out.String(), "\n"+row.field) {
				t.Errorf("exit code %d: %s", code, out.String())
			}
		})
	}
}

func TestAPortInUseIsExplained(t *testing.T) {
	s := newSite(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	s.edit("cloud/cyphonicd.yaml", `as: {listen: "127.0.0.1:0"`, `as: {listen: "`+busy.Addr().String()+`"`)
	var out strings.Builder
	code := execute(t.Context(), []string{"all", "--config", s.configPath()}, &out, &out)
	if code != program.ExitFailure || !strings.Contains(out.String(), "as: listen tcp "+busy.Addr().String()) || !strings.Contains(out.String(), "configure another listen address") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}

func TestServicesAloneNeedAnEtcdThatAnswers(t *testing.T) {
	s := newSite(t)
	var out strings.Builder
	args := []string{"trs", "--config", s.configPath(), "--etcd-endpoints", "http://127.0.0.1:1"}
	if code := execute(t.Context(), args, &out, &out); code != program.ExitFailure || !strings.Contains(out.String(), "etcd") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
}
