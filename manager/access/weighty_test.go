package access

import (
	"testing"

	"github.com/cyphonic/cyphonic/api"
)

// A rule that lets somebody look at everything does not let them take everything
// along, the keys of the services included.
func TestAllKindsAreNotBackupsUnlessAllVerbsAreMeant(t *testing.T) {
	w := newWorld(t, nil)
	each := words("get", "list", "watch", "create", "update", "patch", "delete", "report")
	w.put(role("looks", rule(words("get", "list", "watch", "create"), words("*"))))
	w.put(role("each", rule(each, words("*"))))
	w.put(role("all", rule(words("*"), words("*"))))
	w.put(role("saves", rule(words("get"), words("Backup"))))
	for _, name := range words("looks", "each", "all", "saves") {
		w.put(binding(name, name, nil, api.Subject{Kind: "User", Name: name}))
	}
	w.fresh()
	for name, want := range map[string][3]bool{ // backup, restoration, audit log
		"looks": {false, false, true}, "each": {false, false, true}, "all": {true, true, true}, "saves": {true, false, false},
	} {
		got := [3]bool{
			w.Decide(user(name), Target{Verb: Get, Kind: KindBackup}).Allowed, w.Decide(user(name), Target{Verb: Create, Kind: KindRestore}).Allowed,
			w.Decide(user(name), Target{Verb: Get, Kind: KindAudit}).Allowed,
		}
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if any := w.MayAny(user(name), Get, KindBackup); any != want[0] {
			t.Errorf("%s: a backup of any network: %v", name, any)
		}
	}
	everything := rule(words("*"), words("*"))
	if ok, missing := w.Covers(user("each"), []api.RoleRule{everything}); ok {
		t.Error("who may not take backups gives the right to")
	} else if missing == "" {
		t.Error("nobody says what is missing")
	}
	if ok, missing := w.Covers(user("all"), []api.RoleRule{everything}); !ok {
		t.Errorf("an administrator makes no other: %s", missing)
	}
	if ok, _ := w.Covers(user("looks"), []api.RoleRule{rule(words("get"), words("*"))}); !ok {
		t.Error("a right that one has cannot be given")
	}
	// A binding that names a token gives its rights to whoever makes the token.
	w.put(binding("ci", "all", nil, api.Subject{Kind: "Token", Name: "ci"}))
	w.fresh()
	ci := &api.APIToken{}
	ci.Metadata.Name = "ci"
	if ok, _ := w.CoversToken(user("each"), ci); ok {
		t.Error("who may not take backups makes a token that may")
	}
}
