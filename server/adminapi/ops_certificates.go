package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-iot/holdfast/access"
)

type certificateList struct {
	Principal     string    `query:"principal" maxLength:"253" doc:"of exactly this device, app or server"`
	Profile       string    `query:"profile" enum:"device,gateway,app,server"`
	Status        string    `query:"status" enum:"reserved,issued,held,revoked,abandoned"`
	KeyID         string    `query:"key_id" maxLength:"64" doc:"for this public key (SHA-256, hex)"`
	ExpiresBefore time.Time `query:"expires_before" doc:"that expire before this time"`
	After         string    `query:"after" maxLength:"64" doc:"list from behind this serial number on"`
	Limit         int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type certificateName struct {
	Serial string `path:"serial" maxLength:"64" doc:"hex" example:"4f1c0a5be2974d6c8f0e1b3a5c7d9e01"`
}

type certificatePost struct {
	Body CertificateInput
}

type certificateRevoke struct {
	Serial string `path:"serial" maxLength:"64" doc:"hex" example:"4f1c0a5be2974d6c8f0e1b3a5c7d9e01"`
	Body   reasoned
}

func (a *api) certificateOperations() {
	const tag = "certificates"
	register(a, operation{id: "list-certificates", allow: access.CertificateRead, filters: true, method: http.MethodGet, path: "/certificates", tag: tag, summary: "List certificates",
		description: "One page of the certificates that all given filters select, newest first, without their PEM.",
		response:    CertificateList{[]Certificate{exampleCertificate}, exampleCertificate.Serial}}, a.listCertificates)
	register(a, operation{id: "show-certificate", allow: access.CertificateRead, method: http.MethodGet, path: "/certificates/{serial}", tag: tag, summary: "Show a certificate",
		description: "One certificate with its PEM.", response: exampleCertificate},
		func(ctx context.Context, _ access.Actor, in *certificateName) (*body[Certificate], error) {
			c, err := a.cfg.Certificates.Certificate(ctx, in.Serial)
			return &body[Certificate]{c}, err
		})
	register(a, operation{id: "revoke-certificate", allow: access.CertificateRevoke, fresh: true, second: access.RevokeMany, method: http.MethodPost, path: "/certificates/{serial}/revoke", tag: tag, summary: "Revoke a certificate",
		description: "For good. The reason is a name of RFC 5280 section 5.3.1: keyCompromise, affiliationChanged, superseded, cessationOfOperation, privilegeWithdrawn or unspecified.",
		request:     reasoned{"keyCompromise"}, response: exampleCertificate},
		func(ctx context.Context, by access.Actor, in *certificateRevoke) (*body[Certificate], error) {
			c, err := a.cfg.Certificates.RevokeCertificate(ctx, by, in.Serial, in.Body.Reason)
			return &body[Certificate]{c}, err
		})
	register(a, operation{id: "issue-certificate", allow: access.CertificateIssue, fresh: true, method: http.MethodPost, path: "/certificates", tag: tag, status: http.StatusCreated, summary: "Issue an app or server certificate",
		description: "For a certificate request (PKCS #10) that its key has signed. Devices and gateways enrol by EST instead.",
		request:     CertificateInput{Profile: "server", ID: "historian", CSR: exampleCSR, DNSNames: []string{"historian.example.com"}, Validity: Duration(720 * time.Hour)},
		response:    IssuedCertificate{exampleCertificate, []string{examplePEM}}},
		func(ctx context.Context, by access.Actor, in *certificatePost) (*body[IssuedCertificate], error) {
			b := in.Body
			c, chain, err := a.cfg.Certificates.IssueCertificate(ctx, by, IssueRequest{Profile: b.Profile, ID: b.ID, CSR: []byte(b.CSR),
				DNSNames: b.DNSNames, IPs: b.IPs, Validity: time.Duration(b.Validity)})
			return &body[IssuedCertificate]{IssuedCertificate{c, present(chain)}}, err
		})
}

func (a *api) listCertificates(ctx context.Context, _ access.Actor, in *certificateList) (*body[CertificateList], error) {
	read := func(limit int) func(after string) ([]Certificate, string, error) {
		return func(after string) ([]Certificate, string, error) {
			list, err := a.cfg.Certificates.Certificates(ctx, CertificateFilter{Principal: in.Principal, Profile: in.Profile, Status: in.Status,
				KeyID: in.KeyID, ExpiresBefore: in.ExpiresBefore, After: after, Limit: min(limit+1, maxPage)})
			if err != nil || len(list) <= limit && len(list) < maxPage {
				return list, "", err
			}
			list = list[:min(limit, len(list))]
			return list, list[len(list)-1].Serial, nil
		}
	}
	if a.everywhere(ctx, access.CertificateRead) {
		list, next, err := read(in.Limit)(in.After)
		return &body[CertificateList]{CertificateList{present(list), next}}, err
	}
	list, next, err := pageInScope(in.Limit, in.After, func(c Certificate) string { return c.Serial }, read(maxPage), func(page []Certificate) ([]Certificate, error) {
		return principalsInScope(ctx, a, access.CertificateRead, page, func(c Certificate) (string, string) { return c.Profile, c.Principal })
	})
	return &body[CertificateList]{CertificateList{present(list), next}}, err
}
