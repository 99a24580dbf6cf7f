#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The findings of TLS scanners.

load helpers

setup() {
	setup_site
	make_ca ca
	make_key rsa.key rsa
	# With the extensions that scanners expect of a public certificate.
	days=200
	for name in ecdsa rsa; do
		make_certificate $name ca /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1 keyUsage=digitalSignature \
			extendedKeyUsage=serverAuth crlDistributionPoints=URI:http://crl.example.org/ca.crl
		options+=("--tls-cert=$name.pem" "--tls-key=$name.key")
	done
}

@test "sslscan finds TLS 1.2 and 1.3 with strong ciphers only" {
	for way in implicit starttls; do
		serve_port --tls=$way
		[ $way = starttls ] && how=(--starttls-pop3) || how=()
		sslscan --no-colour --xml=scan.xml "${how[@]}" "127.0.0.1:$port" >out
		grep -xF 'Server supports TLS Fallback SCSV' out
		/usr/bin/python3 - <<-'END'
			import xml.etree.ElementTree as tree
			test = tree.parse('scan.xml').find('ssltest')
			enabled = {(p.get('type') + p.get('version')) for p in test.findall('protocol') if p.get('enabled') == '1'}
			assert enabled == {'tls1.2', 'tls1.3'}, enabled
			ciphers = [(c.get('cipher'), int(c.get('bits'))) for c in test.findall('cipher')]
			assert len(ciphers) == 9, ciphers
			for name, bits in ciphers:
			    assert bits >= 128 and ('GCM' in name or 'CHACHA20' in name), name
			    assert name.startswith(('TLS_', 'ECDHE-')), name
			assert test.find('renegotiation').get('supported') == '0'
			assert all(h.get('vulnerable') == '0' for h in test.findall('heartbleed'))
		END
	done
}

@test "nmap grades every cipher A and finds no weakness" {
	serve_port --tls=implicit
	nmap -Pn -p "$port" --script 'ssl-*,sslv2,sslv2-drown' --script-args vulns.showall 127.0.0.1 >out
	cat out
	grep -F 'least strength: A' out
	[ "$(grep -c '(ecdh_x25519) - A$' out)" -ge 6 ]
	grep -F 'cipher preference: server' out
	run ! grep -E '[^T] VULNERABLE|warnings|TLSv1\.[01]|SSLv' out
}

# testssl_finds_nothing OPTION... -- ID...: testssl.sh reports nothing worse than information, and has
# checked these.
testssl_finds_nothing() {
	[ "$SANITIZED" = none ] || skip 'it is slow, and sees only the protocol'
	local how=()
	while [ "$1" != -- ]; do
		how+=("$1")
		shift
	done
	serve_port
	testssl --quiet --color 0 --warnings off --ip one --nodns min --add-ca ca.pem --starttls pop3 \
		--jsonfile scan.json "${how[@]}" "127.0.0.1:$port" >out 2>&1 || true
	/usr/bin/python3 - "${@:2}" <<-'END'
		import json, sys
		findings = json.load(open('scan.json'))
		# There is no DNS here. testssl.sh's client may leave before the ticket of TLS 1.3 arrives, and then
		# cannot resume (tls-resume.bats can); it says so itself.
		about = {'DNS_CAArecord', 'engine_problem', 'scanTime', 'sessionresumption_ticket'}
		bad = [f for f in findings if f['severity'] not in ('OK', 'INFO')
		       and f['id'].split()[0] not in about]
		assert not bad, bad
		assert set(sys.argv[1:]) <= {f['id'].split()[0] for f in findings}, findings
	END
}

# A single run, because each run probes the TLS versions first.
@test "testssl.sh reports nothing worse than information on versions, preferences, certificates and vulnerabilities" {
	testssl_finds_nothing -p -P -f -S -U -- SSLv2 SSLv3 TLS1 TLS1_1 TLS1_2 TLS1_3 cipher_order PFS \
		TLS_session_ticket cert_keySize cert_chain_of_trust cert_trust \
		heartbleed CCS ROBOT secure_renego secure_client_renego CRIME_TLS \
		POODLE_SSL fallback_SCSV SWEET32 FREAK DROWN LOGJAM BEAST LUCKY13 RC4
}
