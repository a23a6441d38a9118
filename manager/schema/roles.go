package schema

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cyphonic/cyphonic/internal/keyspace"
)

// role is a Role as version 2 stores it.
type role struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Annotations       map[string]string `json:"annotations"`
		CreationTimestamp time.Time         `json:"creationTimestamp"`
		Generation        int               `json:"generation"`
		Name              string            `json:"name"`
		UID               string            `json:"uid"`
		UpdateTimestamp   time.Time         `json:"updateTimestamp"`
	} `json:"metadata"`
	Spec struct {
		Rules []rule `json:"rules"`
	} `json:"spec"`
	Status struct{} `json:"status"`
}

type rule struct {
	Verbs []string `json:"verbs"`
	Kinds []string `json:"kinds"`
}

// builtIn is a role that every installation begins with.
type builtIn struct {
	name, description string
	rules             []rule
}

// builtIns are the roles: all; the fleet; looking at the fleet. They are
// ordinary resources: an operator may change or delete them.
func builtIns() []builtIn {
	fleet := []string{"Network", "Adapter", "Node", "GeneralNode", "AccessPolicy", "CloudService"}
	look := []string{"get", "list", "watch"}
	cloud := []string{"BGPPeer", "BGPAdvertisement", "Replica", "Event"} // what runs the fleet; changing it is for admin
	return []builtIn{
		{"admin", "May do everything.", []rule{{[]string{"*"}, []string{"*"}}}},
		{"editor", "May change the fleet: networks, devices, policies, services and enrolment tokens; nothing about rights.", []rule{
			{append([]string{"create", "update", "patch", "delete"}, look...), append([]string{"EnrollmentToken"}, fleet...)},
			{look, cloud},
			{[]string{"get", "create"}, []string{"Plan", "Reachability"}},
		}},
		{"viewer", "May look at the fleet.", []rule{
			{look, append(cloud, fleet...)},
			{[]string{"get"}, []string{"Reachability"}},
		}},
	}
}

// addRoles leads from version 1 to 2: there are roles now. A role that is
// already there, by whatever means, stays as it is.
func addRoles(ctx context.Context, w work) error {
	for _, b := range builtIns() {
		id, err := uuid.NewRandomFromReader(w.Rand)
		if err != nil {
			return fmt.Errorf("read random bytes for an identifier: %w", err)
		}
		r := role{APIVersion: "cyphonic/v1", Kind: "Role"}
		now := w.Now().UTC()
		r.Metadata.Name, r.Metadata.UID, r.Metadata.Generation = b.name, id.String(), 1
		r.Metadata.CreationTimestamp, r.Metadata.UpdateTimestamp = now, now
		r.Metadata.Annotations = map[string]string{"description": b.description}
		r.Spec.Rules = b.rules
		value, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode the role %s: %w", b.name, err)
		}
		if err := w.create(ctx, keyspace.Resource(keyspace.Roles, b.name), value); err != nil {
			return fmt.Errorf("create the role %s: %w", b.name, err)
		}
	}
	return nil
}
