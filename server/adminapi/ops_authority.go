package adminapi

import (
	"context"
	"net/http"

	"github.com/holdfast-iot/holdfast/access"
	"github.com/holdfast-iot/holdfast/refusal"
)

type rotationPost struct {
	Body rotationInput
}

type rotationFinish struct {
	RawBody []byte `contentType:"application/pem-certificate-chain"`
}

func (a *api) authorityOperations() {
	const tag = "authority"
	register(a, operation{id: "list-cas", allow: access.CARead, method: http.MethodGet, path: "/cas", tag: tag, summary: "List certificate authorities",
		description: "The root and all issuing CAs, retiring ones included.", response: list[CA]{[]CA{exampleCA}}},
		func(ctx context.Context, _ access.Actor, _ *struct{}) (*body[list[CA]], error) {
			cas, err := a.cfg.Authority.CAs(ctx)
			return &body[list[CA]]{list[CA]{present(cas)}}, err
		})
	register(a, operation{id: "begin-rotation", allow: access.CARotate, fresh: true, second: access.ChangeCA, method: http.MethodPost, path: "/cas/rotations", tag: tag, status: http.StatusCreated, summary: "Begin the rotation of the issuing CA",
		description: "Makes a new issuing key and returns its certificate request. The root key signs it elsewhere, with `holdfast ca sign`; the present CA issues until then.",
		request:     rotationInput{"P-256"}, response: rotation{exampleCSR}},
		func(ctx context.Context, by access.Actor, in *rotationPost) (*body[rotation], error) {
			csr, err := a.cfg.Authority.BeginRotation(ctx, by, in.Body.Algorithm)
			return &body[rotation]{rotation{csr}}, err
		})
	register(a, operation{id: "finish-rotation", allow: access.CARotate, fresh: true, second: access.ChangeCA, method: http.MethodPost, path: "/cas/rotations/certificate", tag: tag, status: http.StatusCreated, maxBody: maxPEM, summary: "Finish the rotation of the issuing CA",
		description: "The body is the certificate as PEM that the root key signed. From then on it issues; the old CA keeps answering for what it issued.",
		request:     examplePEM, response: exampleCA},
		func(ctx context.Context, by access.Actor, in *rotationFinish) (*body[CA], error) {
			ca, err := a.cfg.Authority.FinishRotation(ctx, by, string(in.RawBody))
			return &body[CA]{ca}, err
		})
	registerPublic(a, operation{id: "trust-anchors", method: http.MethodGet, path: "/ca/bundle.pem", tag: tag, summary: "Get the trust anchors",
		description: "The root and issuing certificates as PEM. It needs no token: compare the root's fingerprint over another way before you trust it.", response: examplePEM},
		func(ctx context.Context, _ *struct{}) (*raw, error) {
			pem, err := a.cfg.Authority.Bundle(ctx)
			if err == nil && pem == "" {
				err = refusal.New(refusal.Unavailable, "no-ca", "create it with `holdfast ca init`", "there is no certificate authority yet")
			}
			return &raw{ContentType: "application/pem-certificate-chain", Body: []byte(pem)}, err
		})
	a.describeRaw("/ca/bundle.pem", "application/pem-certificate-chain", examplePEM)
}
