package cloudconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckOfTheSpeaker(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text, field, say string
	}{
		"nothing configured":   {"", "", ""},
		"all":                  {"{socket: s, socketMode: '0600', socketGroup: '0', routerID: 192.0.2.1, addresses: ['192.0.2.1'], listen: ['192.0.2.1', '2001:db8::1'], listenPort: 1179, gracefulShutdown: 1s, stateFile: x}", "", ""},
		"socket for everybody": {"{socketMode: '0666'}", "speaker.socketMode", "0660"},
		"unknown group":        {"{socketGroup: no-such-group-here}", "speaker.socketGroup", "groupadd"},
		"router ID of IPv6":    {"{routerID: '2001:db8::1'}", "speaker.routerID", "192.0.2.1"},
		"listen everywhere":    {"{listen: ['0.0.0.0']}", "speaker.listen", "no address of a host"},
		"listen twice":         {"{listen: ['192.0.2.1', '::ffff:192.0.2.1']}", "speaker.listen", "twice"},
		"no port":              {"{listenPort: 70000}", "speaker.listenPort", "65535"},
		"slow withdrawal":      {"{gracefulShutdown: 1h}", "speaker.gracefulShutdown", "between"},
		"secrets absent":       {"{secretsDirectory: /nonexistent}", "speaker.secretsDirectory", "create it"},
		"secrets for all":      {"{secretsDirectory: " + open + "}", "speaker.secretsDirectory", "chmod 700"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.yaml")
			text := "etcd: {endpoints: ['https://etcd:2379']}\nreplica: {host: h1, addresses: ['192.0.2.9']}\n"
			if row.text != "" {
				text += "speaker: " + row.text + "\n"
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := c.Check([]string{ServiceSpeaker}, time.Now())
			switch {
			case row.field == "" && err != nil:
				t.Fatal(err)
			case row.field != "" && (err == nil || !strings.Contains(err.Error(), row.field+": ") || !strings.Contains(err.Error(), row.say)):
				t.Fatalf("got %v, want a fault of %s that says %q", err, row.field, row.say)
			case name == "nothing configured" && (m.Speaker.RouterID.String() != "192.0.2.9" || m.Speaker.GracefulShutdown != 50*time.Millisecond ||
				m.Speaker.StateFile != "/var/lib/cyphonic/speaker.json" || len(m.Speaker.Listen) > 0):
				t.Errorf("defaults %+v", m.Speaker)
			case name == "all" && (c.Speaker.Socket != filepath.Join(filepath.Dir(path), "s") || len(m.Speaker.Listen) != 2):
				t.Errorf("%+v %+v", c.Speaker, m.Speaker)
			}
		})
	}
	if a, err := routerID("", ReplicaMaterial{Host: "h1"}); err != nil || !a.Is4() || a.IsUnspecified() {
		t.Errorf("router ID of a host without IPv4: %v %v", a, err)
	}
}
