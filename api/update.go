package api

// CheckUpdate returns the faults of replacing old by new, both valid and of the same kind and name: fields that cannot be changed.
func CheckUpdate(old, new Object) FieldErrors {
	var found faults
	before, after := fixedFields(old), fixedFields(new)
	for i, field := range after {
		if field.value != before[i].value {
			found.add(field.at, "is %s and was %s, but cannot be changed: delete the %s and create it again", show(field.value), show(before[i].value), new.KindName())
		}
	}
	return found.list
}

type fixedField struct {
	at    pointer
	value any
}

// fixedFields lists the same fields in the same order for every object of a kind.
func fixedFields(o Object) []fixedField {
	switch o := o.(type) {
	case *Network:
		return []fixedField{{"/spec/ipv4Prefix", o.Spec.Ipv4Prefix}, {"/spec/ipv6Prefix", o.Spec.Ipv6Prefix}, {"/spec/domain", o.Spec.Domain}}
	case *Node:
		return []fixedField{{"/spec/network", o.Spec.Network}}
	case *Adapter:
		return []fixedField{{"/spec/network", o.Spec.Network}}
	case *GeneralNode:
		return []fixedField{{"/spec/network", o.Spec.Network}}
	case *AccessPolicy:
		return []fixedField{{"/spec/network", o.Spec.Network}}
	case *EnrollmentToken:
		return []fixedField{{"/spec/subjectKind", o.Spec.SubjectKind}, {"/spec/subjectName", o.Spec.SubjectName}, {"/spec/ttlSeconds", o.Spec.TtlSeconds}}
	case *APIToken:
		return []fixedField{{"/spec/ttlSeconds", o.Spec.TtlSeconds}}
	}
	return nil
}
