package manifest

import "strings"

func cutKind(key string, kind Kind) (name string, ok bool) {
	return strings.CutPrefix(key, string(kind)+" ")
}

// RuleNames lists all rules and commands as decisions name them: Kind/name/rule.
// Client ids are decided by their document: Kind/name.
func (s *Set) RuleNames() []string {
	var names []string
	add := func(kind Kind, doc string, rules ...[]Rule) {
		for _, list := range rules {
			for _, r := range list {
				names = append(names, string(kind)+"/"+doc+"/"+r.Name)
			}
		}
	}
	for _, d := range s.DeviceTypes {
		add(DeviceTypeKind, d.Name, d.Publish, d.Subscribe)
		for _, c := range d.Commands {
			names = append(names, string(DeviceTypeKind)+"/"+d.Name+"/"+c.Name)
		}
		names = append(names, string(DeviceTypeKind)+"/"+d.Name)
	}
	for _, z := range s.Zones {
		add(ZoneKind, z.Name, z.Publish, z.Subscribe)
	}
	for _, a := range s.Apps {
		add(AppKind, a.Name, a.Publish, a.Subscribe)
		names = append(names, string(AppKind)+"/"+a.Name)
	}
	for _, p := range s.Policies {
		add(MessagePolicyKind, p.Name, p.Publish, p.Subscribe, p.DenyPublish, p.DenySubscribe)
	}
	return names
}
