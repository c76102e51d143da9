import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Decides about MSK IAM tokens as the service would: a token is the URL of a request to kafka-cluster:Connect, signed
 * with SigV4. Region and keys come from the broker's settings msk.test.region, msk.test.access.key, msk.test.secret.key.
 */
public class MskTokenValidator implements AuthenticateCallbackHandler {
    private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'");
    private static final String EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    private String region;
    private String accessKey;
    private String secretKey;

    @Override
    public void configure(Map<String, ?> settings, String mechanism, List<AppConfigurationEntry> entries) {
        region = (String) settings.get("msk.test.region");
        accessKey = (String) settings.get("msk.test.access.key");
        secretKey = (String) settings.get("msk.test.secret.key");
    }

    @Override
    public void handle(Callback[] callbacks) {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback asked) {
                decide(asked);
            }
        }
    }

    private void decide(OAuthBearerValidatorCallback asked) {
        try {
            Instant end = validate(asked.tokenValue());
            asked.token(new Accepted(asked.tokenValue(), accessKey, end.toEpochMilli()));
        } catch (Exception refusal) {
            asked.error("refused: " + refusal.getMessage(), null, null);
        }
    }

    /** Returns when the token ends. */
    private Instant validate(String token) throws Exception {
        URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
        String host = "kafka." + region + ".amazonaws.com";
        check("https".equals(url.getScheme()) && host.equals(url.getHost()), "the token is for " + url.getHost());
        TreeMap<String, String> query = new TreeMap<>();
        for (String pair : url.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            query.put(parts[0], parts[1]);
        }
        check("kafka-cluster%3AConnect".equals(query.get("Action")), "the action is no kafka-cluster:Connect");
        check("AWS4-HMAC-SHA256".equals(query.get("X-Amz-Algorithm")), "unknown algorithm");
        checkSignature(query, host);
        LocalDateTime signed = LocalDateTime.parse(query.get("X-Amz-Date"), DATE);
        Instant begin = signed.toInstant(ZoneOffset.UTC);
        long seconds = Long.parseLong(query.get("X-Amz-Expires"));
        check(seconds <= 900, "the token lives too long");
        check(begin.isBefore(Instant.now().plusSeconds(300)), "the token is from the future");
        check(Instant.now().isBefore(begin.plusSeconds(seconds)), "the token has expired");
        return begin.plusSeconds(seconds);
    }

    private void checkSignature(TreeMap<String, String> query, String host) throws Exception {
        String given = query.remove("X-Amz-Signature");
        query.remove("User-Agent"); // comes after the signature
        String stamp = query.get("X-Amz-Date");
        String scope = stamp.substring(0, 8) + "/" + region + "/kafka-cluster/aws4_request";
        String credential = URLDecoder.decode(query.get("X-Amz-Credential"), StandardCharsets.UTF_8);
        check(credential.equals(accessKey + "/" + scope), "unknown credentials");
        StringBuilder sorted = new StringBuilder();
        query.forEach((name, value) -> sorted.append(sorted.isEmpty() ? "" : "&").append(name).append("=").append(value));
        String request = "GET\n/\n" + sorted + "\nhost:" + host + "\n\nhost\n" + EMPTY_SHA256;
        byte[] hash = MessageDigest.getInstance("SHA-256").digest(request.getBytes(StandardCharsets.UTF_8));
        String text = "AWS4-HMAC-SHA256\n" + stamp + "\n" + scope + "\n" + HexFormat.of().formatHex(hash);
        byte[] key = ("AWS4" + secretKey).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = hmac(key, part);
        }
        check(HexFormat.of().formatHex(hmac(key, text)).equals(given), "the signature is wrong");
    }

    private static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void check(boolean condition, String otherwise) {
        if (!condition) {
            throw new IllegalArgumentException(otherwise);
        }
    }

    @Override
    public void close() {
    }

    private record Accepted(String value, String principalName, long lifetimeMs) implements OAuthBearerToken {
        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public Long startTimeMs() {
            return null;
        }
    }
}
