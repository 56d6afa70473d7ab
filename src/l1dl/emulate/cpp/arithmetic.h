// Exact fixed-point arithmetic on lanes of events. This text stands inside the namespace of each generated network.
// A value is an array of L codes, one for each event that passes through the network together.

enum class Rounding { TRN, TRN_ZERO, RND, RND_ZERO, RND_INF, RND_MIN_INF, RND_CONV };

// KEEP: proved to be inside the range. SAT_SYM is SAT with other bounds.
enum class Overflow { KEEP, WRAP, SAT, SAT_ZERO };

// Drop bits at the right end, with a rounding; a negative number of bits is appended. T holds all values on the way.
template <class T, int Drop, Rounding R> inline T shift(T code) {
    using U = std::make_unsigned_t<T>;
    constexpr int digits = std::numeric_limits<U>::digits;
    if constexpr (Drop == 0) {
        return code;
    } else if constexpr (Drop < 0) {
        return code * (T(1) << -Drop);
    } else if constexpr (Drop >= digits) { // less than one half is left
        return R == Rounding::TRN ? code >> (digits - 1) : T(0);
    } else {
        const T down = code >> Drop;
        const U rest = U(code) & ((U(1) << Drop) - 1);
        constexpr U half = U(1) << (Drop - 1);
        if constexpr (R == Rounding::TRN)
            return down;
        else if constexpr (R == Rounding::TRN_ZERO)
            return down + T((code < 0) & (rest != 0));
        else if constexpr (R == Rounding::RND)
            return down + T(rest >= half);
        else if constexpr (R == Rounding::RND_MIN_INF)
            return down + T(rest > half);
        else if constexpr (R == Rounding::RND_CONV)
            return down + T(rest + (U(down) & 1) > half);
        else if constexpr (R == Rounding::RND_ZERO)
            return down + T(rest + U(code < 0) > half);
        else
            return down + T(rest + U(code >= 0) > half);
    }
}

// Bring a code into the range from Low to High, which has a power of two of codes for WRAP.
template <class T, Overflow O, T Low, T High> inline T limit(T code) {
    using U = std::make_unsigned_t<T>;
    if constexpr (O == Overflow::KEEP)
        return code;
    else if constexpr (O == Overflow::WRAP)
        return T(((U(code) - U(Low)) & (U(High) - U(Low))) + U(Low));
    else if constexpr (O == Overflow::SAT)
        return code < Low ? Low : (code > High ? High : code);
    else
        return ((code < Low) | (code > High)) ? T(0) : code;
}

template <class T, int Drop, Rounding R, Overflow O, T Low = 0, T High = 0> inline T convert(T code) {
    return limit<T, O, Low, High>(shift<T, Drop, R>(code));
}

constexpr double power_of_two(int exponent) {
    double value = 1;
    for (; exponent > 0; --exponent)
        value *= 2;
    for (; exponent < 0; ++exponent)
        value /= 2;
    return value;
}

// x * 2**Exponent, rounded once where it leaves the range of double.
template <int Exponent> inline double scale(double x) {
    if constexpr (-1000 < Exponent && Exponent < 1000)
        return x * power_of_two(Exponent);
    else
        return std::ldexp(x, Exponent);
}

template <Rounding R> inline double round_real(double x) {
    if constexpr (R == Rounding::TRN)
        return std::floor(x);
    if constexpr (R == Rounding::RND_CONV)
        return std::nearbyint(x);
    const double inner = std::trunc(x);
    if constexpr (R == Rounding::TRN_ZERO)
        return inner;
    const double rest = std::fabs(x - inner);
    const bool negative = x < 0;
    bool tie = true;
    if constexpr (R == Rounding::RND)
        tie = !negative;
    if constexpr (R == Rounding::RND_MIN_INF)
        tie = negative;
    if constexpr (R == Rounding::RND_ZERO)
        tie = false;
    const bool away = (rest > 0.5) | ((rest == 0.5) & tie);
    return inner + (away ? (negative ? -1.0 : 1.0) : 0.0);
}

// An input: a type of Width bits, whose codes are stored as T.
template <class T, int Width, int Fraction, Rounding R, Overflow O, T Low, T High, T Minimum, T Maximum> struct Port {
    // A code from outside; false where the type does not have it.
    static bool take(std::int64_t given, T &code) {
        const bool inside = (given >= Minimum) & (given <= Maximum);
        code = inside ? T(given) : T(0);
        return inside;
    }

    // The code of a real value; false for NaN and infinity.
    static bool take(double given, T &code) {
        const bool finite = std::fabs(given) <= std::numeric_limits<double>::max();
        const double x = finite ? given : 0.0;
        double scaled = scale<Fraction>(x);
        if constexpr (Fraction < 0) // below the smallest double only the sign still counts
            scaled = ((scaled == 0) & (x != 0)) ? std::copysign(0.25, x) : scaled;
        double rounded = round_real<R>(scaled);
        if constexpr (O == Overflow::WRAP) {
            // What overflowed to infinity is a multiple of 2**Width; the rest is exact modulo 2**Width.
            if constexpr (Fraction > 0)
                rounded = std::fabs(rounded) <= std::numeric_limits<double>::max() ? rounded : 0.0;
            rounded -= std::trunc(rounded * power_of_two(-Width)) * power_of_two(Width);
        } else {
            constexpr double reach = power_of_two(std::numeric_limits<T>::digits - 1);
            rounded = rounded < -reach ? -reach : (rounded > reach ? reach : rounded);
        }
        code = limit<T, O, Low, High>(T(rounded));
        return finite;
    }
};

// Values First, First + 1, … of the rows of L events; false if the port refuses one.
template <class P, int First, class X, class Y, int N, int L>
bool load_values(const X *const (&rows)[L], Y (&y)[N][L]) {
    using Given = std::conditional_t<std::is_same_v<X, float>, double, X>;
    int refused = 0;
    for (int i = 0; i < N; ++i) {
        Given given[L];
        for (int lane = 0; lane < L; ++lane)
            given[lane] = rows[lane][First + i];
        for (int lane = 0; lane < L; ++lane)
            refused |= !P::take(given[lane], y[i][lane]);
    }
    return refused == 0;
}

template <int Fraction, class X> inline void give(X code, std::int64_t &result) { result = code; }
template <int Fraction, class X> inline void give(X code, double &result) { result = scale<-Fraction>(double(code)); }

// The other way, for the first lanes.
template <int Fraction, int First, class X, class Y, int N, int L>
void store_values(const X (&x)[N][L], Y *const (&rows)[L], int lanes) {
    for (int lane = 0; lane < lanes; ++lane)
        for (int i = 0; i < N; ++i)
            give<Fraction>(x[i][lane], rows[lane][First + i]);
}

// A function of one value, element by element.
template <class F, class X, class Y, int N, int L> void map(const X (&x)[N][L], Y (&y)[N][L]) {
    for (int i = 0; i < N; ++i)
        for (int lane = 0; lane < L; ++lane)
            y[i][lane] = static_cast<Y>(F::apply(x[i][lane], i));
}

// A function of two values at the places that F names.
template <class F, class A, class B, class Y, int N, int M, int K, int L>
void merge(const A (&a)[M][L], const B (&b)[K][L], Y (&y)[N][L]) {
    for (int i = 0; i < N; ++i) {
        const auto &left = a[F::left(i)];
        const auto &right = b[F::right(i)];
        for (int lane = 0; lane < L; ++lane)
            y[i][lane] = static_cast<Y>(F::apply(left[lane], right[lane]));
    }
}

// Entries of an embedding: a row of values for each value.
template <class F, class X, class Y, int N, int M, int L> void expand(const X (&x)[M][L], Y (&y)[N][L]) {
    for (int i = 0; i < N; ++i)
        for (int lane = 0; lane < L; ++lane)
            y[i][lane] = static_cast<Y>(F::apply(x[i / (N / M)][lane], i % (N / M)));
}

// A value of x for each value of y; where the index is negative, a constant.
template <class F, class X, class Y, int N, int M, int L>
void gather(const X (&x)[M][L], Y (&y)[N][L], const std::int32_t (&index)[N]) {
    for (int i = 0; i < N; ++i) {
        if (index[i] < 0) {
            for (int lane = 0; lane < L; ++lane)
                y[i][lane] = F::fill;
        } else {
            const auto &from = x[index[i]];
            for (int lane = 0; lane < L; ++lane)
                y[i][lane] = static_cast<Y>(F::apply(from[lane], i));
        }
    }
}

// Some values of x at some places of y.
template <class F, class X, class Y, int N, int M, int K, int L>
void scatter(const X (&x)[M][L], Y (&y)[N][L], const std::int32_t (&index)[K], const std::int32_t (&places)[K]) {
    for (int i = 0; i < K; ++i)
        for (int lane = 0; lane < L; ++lane)
            y[places[i]][lane] = static_cast<Y>(F::apply(x[index[i]][lane], i));
}

template <class Y, int N, int K, int L> void clear(Y (&y)[N][L], const std::int32_t (&places)[K]) {
    for (int i = 0; i < K; ++i)
        for (int lane = 0; lane < L; ++lane)
            y[places[i]][lane] = 0;
}

// The sum or the maximum of the values that stand one after the other in the index.
template <class F, class X, class Y, int N, int M, int L>
void reduce(const X (&x)[M][L], Y (&y)[N][L], const std::int32_t (&index)[M]) {
    constexpr int count = M / N;
    for (int i = 0; i < N; ++i) {
        typename F::Type total[L];
        for (int lane = 0; lane < L; ++lane)
            total[lane] = F::term(x[index[i * count]][lane]);
        for (int j = 1; j < count; ++j)
            for (int lane = 0; lane < L; ++lane)
                total[lane] = F::join(total[lane], F::term(x[index[i * count + j]][lane]));
        for (int lane = 0; lane < L; ++lane)
            y[i][lane] = static_cast<Y>(F::finish(total[lane]));
    }
}

// One at the first maximum of each Count values, zero elsewhere.
template <int Count, class X, class Y, int N, int L> void argmax(const X (&x)[N][L], Y (&y)[N][L], Y one) {
    for (int first = 0; first < N; first += Count) {
        for (int lane = 0; lane < L; ++lane) {
            int best = first;
            for (int i = first + 1; i < first + Count; ++i)
                best = x[i][lane] > x[best][lane] ? i : best;
            for (int i = first; i < first + Count; ++i)
                y[i][lane] = i == best ? one : Y(0);
        }
    }
}

// Bytes of a vector register.
#if defined(__AVX512F__)
constexpr int REGISTER = 64;
#elif defined(__AVX__)
constexpr int REGISTER = 32;
#else
constexpr int REGISTER = 16;
#endif

// Vectors of sums that are computed together: as many as hide the time that an addition takes.
constexpr int SUMS = 8;

// Numbers that one instruction works on: compilers do not see by themselves that the sums can stay in registers.
template <class S, int Width> struct Vector {
    typedef S Type __attribute__((vector_size(Width * sizeof(S))));
};

[[maybe_unused]] constexpr int power_below(int most) {
    int power = 1;
    while (2 * power <= most)
        power *= 2;
    return power;
}

// Block outputs of a matrix for L lanes; the product of a weight and a value is exact.
template <class D, int Block, class S, class Y, int L>
inline void exact_block(const S (*x)[L], const S *weight, Y (*y)[L], int first) {
    constexpr bool across = L == 1; // a vector holds outputs instead of lanes
    constexpr int together = across ? Block : L;
    constexpr int width = std::min(power_below(together), REGISTER / int(sizeof(S))), parts = together / width;
    constexpr int rows = across ? 1 : Block;
    static_assert(parts * width == together);
    using V = typename Vector<S, width>::Type;
    V sums[rows][parts] = {};
    for (int i = 0; i < D::inputs; ++i) {
        V given[parts];
        std::memcpy(given, across ? weight + i * D::outputs : x[i], sizeof(given));
        for (int row = 0; row < rows; ++row)
            for (int part = 0; part < parts; ++part)
                sums[row][part] += given[part] * (across ? x[i][0] : weight[i * D::outputs + row]);
    }
    S totals[Block][L];
    std::memcpy(totals, sums, sizeof(totals));
    for (int output = 0; output < Block; ++output)
        for (int lane = 0; lane < L; ++lane)
            y[output][lane] = static_cast<Y>(D::finish(totals[output][lane], first + output));
}

// One output of a matrix whose products are rounded one by one.
template <class D, class S, class Y, int L>
inline void rounding_block(const S (*x)[L], const S *weight, Y (*y)[L], int first) {
    S sums[L] = {};
    for (int i = 0; i < D::inputs; ++i)
        for (int lane = 0; lane < L; ++lane)
            sums[lane] += D::multiply(weight[i * D::outputs], x[i][lane]);
    for (int lane = 0; lane < L; ++lane)
        y[0][lane] = static_cast<Y>(D::finish(sums[lane], first));
}

// Outputs of one matrix, from number First on.
template <class D, int First, class S, class Y, int L>
void dense_outputs(const S (*x)[L], const S *weight, Y (*y)[L], int bias) {
    constexpr int left = D::outputs - First;
    if constexpr (!D::exact) {
        for (int output = 0; output < left; ++output)
            rounding_block<D>(x, weight + output, y + output, bias + output);
    } else if constexpr (left > 0) {
        constexpr int width = std::min(power_below(L == 1 ? left : L), REGISTER / int(sizeof(S)));
        constexpr int most = L == 1 ? std::min(SUMS, left / width) * width : std::max(1, SUMS * width / L);
        constexpr int block = std::min(most, left), end = First + left / block * block;
        for (int output = First; output < end; output += block)
            exact_block<D, block>(x, weight + output, y + output, bias + output);
        dense_outputs<D, end>(x, weight, y, bias);
    }
}

// A matrix for each group of values along the last axis. `lanes` holds one vector as the type of the sums.
template <class D, class X, class S, class Y, int N, int M, int K, int L>
void dense(const X (&x)[M][L], Y (&y)[N][L], S (&lanes)[K][L]) {
    constexpr int inputs = D::groups * D::inputs, outputs = D::groups * D::outputs;
    static_assert(K >= inputs && M % inputs == 0 && M / inputs * outputs == N);
    for (int vector = 0; vector < M / inputs; ++vector) {
        for (int i = 0; i < inputs; ++i)
            for (int lane = 0; lane < L; ++lane)
                lanes[i][lane] = static_cast<S>(x[vector * inputs + i][lane]);
        for (int group = 0; group < D::groups; ++group) {
            const S *const weight = D::weight + group * D::inputs * D::outputs;
            const S(*const from)[L] = lanes + group * D::inputs;
            dense_outputs<D, 0>(from, weight, y + vector * outputs + group * D::outputs, group * D::outputs);
        }
    }
}
