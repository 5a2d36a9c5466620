package oauth

import "github.com/holdfast-iot/holdfast/access"

// metadata is the document of RFC 8414 section 2. There is no authorization
// endpoint because there is no grant that uses one.
func (s *Server) metadata() any {
	var scopes []string
	for _, p := range access.Permissions() {
		scopes = append(scopes, string(p.Permission))
	}
	methods := []string{secretBasic, secretPost, privateKeyJWT}
	withPublic := append(methods[:len(methods):len(methods)], public)
	at := func(path string) string { return s.cfg.Issuer + path }
	return map[string]any{
		"issuer":                                s.cfg.Issuer,
		"token_endpoint":                        at(pathToken),
		"device_authorization_endpoint":         at(pathDevice),
		"introspection_endpoint":                at(pathIntrospect),
		"revocation_endpoint":                   at(pathRevoke),
		"jwks_uri":                              at(pathKeys),
		"scopes_supported":                      scopes,
		"response_types_supported":              []string{},
		"grant_types_supported":                 []string{grantClient, grantDevice, grantRefresh},
		"token_endpoint_auth_methods_supported": withPublic,
		"token_endpoint_auth_signing_alg_values_supported":         ClientAlgorithms(),
		"introspection_endpoint_auth_methods_supported":            methods,
		"introspection_endpoint_auth_signing_alg_values_supported": ClientAlgorithms(),
		"revocation_endpoint_auth_methods_supported":               withPublic,
		"revocation_endpoint_auth_signing_alg_values_supported":    ClientAlgorithms(),
	}
}
