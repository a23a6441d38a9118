package keyspace

import "testing"

func TestMarksOfDeletionAreParsed(t *testing.T) {
	if plural, name, ok := ParseDeleting(Deleting(Networks, "n")); !ok || plural != Networks || name != "n" {
		t.Errorf("%q %q %v", plural, name, ok)
	}
	for _, key := range []string{"", DeletingPrefix, DeletingPrefix + "nodes", Resource(Nodes, "n"), DeletingPrefix + "nodes/a/b"} {
		if _, _, ok := ParseDeleting(key); ok {
			t.Errorf("%q was parsed", key)
		}
	}
}
